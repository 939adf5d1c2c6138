"""Published figures: what a YAML may say, their intervals, and those that come with bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import SpecError
from harness.specs.reported import Figure, load_reported, read_reported

REPORTED = Path(__file__).resolve().parents[3] / "results" / "reported"
BASE = """\
source: a report
figures:
  - {model: m, task: toy, metric: accuracy, value: 0.4, n: 10}
"""


def figure(**changes: Any) -> Figure:
    return Figure.model_validate({"model": "m", "task": "toy", "metric": "accuracy", "value": 0.4, "n": 10, **changes})


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("value: 0.4", "value: 1.4", 3, "a share must be between 0 and 1, and accuracy is 1.4"),
        ("value: 0.4", "value: .nan", 3, "finite number"),
        ("n: 10", "n: 0", 3, "greater than or equal to 1"),
        ("n: 10", "rows: 10", 3, "unknown key 'figures.0.rows'"),
        ("model: m, ", "", 3, "'figures.0.model' is missing"),
        ("source: a report", "sauce: a report", 1, "unknown key 'sauce'"),
        ("source: a report", 'source: ""', 1, "at least 1 character"),
    ],
)
def test_bad_yaml_says_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in BASE
    path = tmp_path / "mine.yaml"
    path.write_text(BASE.replace(old, new), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_reported(path)
    assert f"mine.yaml:{line}: " in caught.value.message
    assert words in caught.value.message


def test_the_interval_of_four_in_ten() -> None:
    """0.1216 and 0.7376 are the bounds that tables of Clopper and Pearson's interval give."""
    assert figure().interval == pytest.approx((0.1216, 0.7376), abs=5e-5)
    assert figure(value=0.0).interval == pytest.approx((0, 1 - 0.025 ** (1 / 10)))


def test_only_shares_of_a_known_number_have_an_interval() -> None:
    assert figure(n=None).interval is None
    assert figure(metric="rows/s", value=309, n=10).interval is None
    assert figure(metric="subset_accuracy").interval is not None


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "0.400 [0.122, 0.738]"),
        ({"value": 0.6488, "n": None}, "0.6488"),
        ({"value": 0.3, "n": None}, "0.300"),
        ({"metric": "rows/s", "value": 309}, "309"),
        ({"metric": "rows/s", "value": 54.8}, "54.8"),
        ({"metric": "usd", "value": 0.5574}, "0.5574"),
        ({"metric": "roc_auc", "value": 0.7040}, "0.704"),
    ],
)
def test_a_figure_is_shown_as_published(changes: dict[str, Any], shown: str) -> None:
    assert figure(**changes).shown == shown


def test_a_folder_is_read_by_name_and_may_be_missing(tmp_path: Path) -> None:
    assert read_reported(tmp_path / "none") == []
    for name in "ba":
        (tmp_path / f"{name}.yaml").write_text(BASE, encoding="utf-8")
    assert [reported.name for reported in read_reported(tmp_path)] == ["a", "b"]


def test_every_figure_that_was_reported_is_there() -> None:
    """The numbers as they stand in the reports; a slip of a digit would be a false claim about others."""
    found = {
        reported.name: sorted(
            (item.metric, item.lang, item.n, item.value) for item in reported.figures if item.metric != "rows/s"
        )
        for reported in read_reported(REPORTED)
        if reported.name != "distil-mbert-amazon"
    }
    english = [
        (1250, 0.4824),
        (1250, 0.5216),
        (1250, 0.6392),
        (1250, 0.644),
        (1250, 0.6488),
        (500, 0.482),
        (500, 0.502),
        (500, 0.652),
    ]
    french = [(500, 0.454), (500, 0.612), (500, 0.62)]
    japanese = [(500, 0.298), (500, 0.36), (1250, 0.372)]
    mbert = [("accuracy", lang, *pair) for lang, pairs in (("en", english), ("fr", french), ("ja", japanese)) for pair in pairs]
    ettin = (0.146, 0.271, 0.447, 0.667, 0.810, 0.872, 0.915)
    others = (0.926, 0.932, 0.942, 0.79, 0.81, 0.82, 0.92)
    assert found == {
        "banking77": [("accuracy", "en", None, value) for value in sorted(ettin + others)],
        "mbert-amazon": sorted(mbert),
        "mistral-amazon": [("accuracy", "en", 10, 0.4), ("accuracy", "fr", 10, 0.6), ("accuracy", "ja", 10, 0.4)],
        "bert-douban": [
            ("micro_f1", "zh", 6000, 0.5309),
            ("roc_auc", "zh", 6000, 0.7040),
            ("subset_accuracy", "zh", 6000, 0.512),
        ],
        "distilbert-app-reviews": [
            ("USD for the test set", "en", None, 0.5574),
            ("accuracy", "en", 57613, 0.7116),
            ("binary_accuracy", "en", 57613, 0.7939),
            ("off_by_one", "en", 57613, 0.8653),
        ],
    }
    speeds = [item for reported in read_reported(REPORTED) for item in reported.figures if item.metric == "rows/s"]
    assert sorted(item.value for item in speeds) == [34.9, 41.0, 54.8, 196, 309, 397]
    assert all("without device synchronisation" in item.note for item in speeds if "chat model" not in item.model)
    card = load_reported(REPORTED / "distil-mbert-amazon.yaml")
    assert {item.value for item in card.figures} == {0.7648}
    assert "philschmid/distilbert-base-multilingual-cased-sentiment" in card.source
