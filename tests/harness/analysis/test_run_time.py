"""How long the first runs take, and the limits that keep them short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis import run_time
from harness.analysis.run_time import ADVISED_PER_LABEL, BUDGET, RATES, STEPS, Rows, first_runs
from harness.core.types import LabelKind
from harness.specs.catalog import Catalog

SMALL = Rows({"en": 300}, {"en": 60}, {"en": 80}, 20, LabelKind.NOMINAL, ["a", "b"], 1)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path)


def grown(rows: Rows, times: int, langs: tuple[str, ...] = ("en",)) -> Rows:
    return replace(
        rows,
        train=dict.fromkeys(langs, times * rows.train["en"]),
        validation=dict.fromkeys(langs, times * rows.validation["en"]),
        test=dict.fromkeys(langs, times * rows.test["en"]),
    )


def test_a_small_task_has_no_limits(catalog: Catalog) -> None:
    advice = first_runs(SMALL, catalog)
    assert advice.limits == STEPS[0]
    assert advice.limits.arguments == ""
    assert advice.languages == ("en",)
    assert list(advice.seconds) == ["tfidf", "embed-minilm", "minilm", "qwen-coder-0.5b"]


@pytest.mark.parametrize("tokens", [10, 60, 300])
@pytest.mark.parametrize("langs", [("en",), ("de", "ja"), tuple(f"l{n}" for n in range(20))])
@pytest.mark.parametrize("times", [10, 300])
def test_all_runs_fit_into_the_budget(catalog: Catalog, tokens: int, langs: tuple[str, ...], times: int) -> None:
    advice = first_runs(replace(grown(SMALL, times, langs), tokens=tokens), catalog)
    assert advice.total <= BUDGET
    assert set(advice.languages) <= set(langs)
    assert set(advice.seconds) <= RATES.keys()


def test_longer_texts_more_labels_and_more_rows_take_longer(catalog: Catalog) -> None:
    def seconds(rows: Rows, backend: str) -> float:
        return first_runs(rows, catalog).seconds[backend]

    llm = "qwen-coder-0.5b"
    assert seconds(replace(SMALL, tokens=40), "minilm") > seconds(SMALL, "minilm")
    assert seconds(replace(SMALL, tokens=40), llm) > seconds(SMALL, llm)
    assert seconds(replace(SMALL, names=[f"label {n}" for n in range(30)]), llm) > seconds(SMALL, llm)
    several = replace(SMALL, kind=LabelKind.MULTILABEL, most_labels=2)
    assert seconds(replace(several, most_labels=5), llm) > seconds(several, llm)
    assert seconds(replace(SMALL, test={"en": 160}), llm) > seconds(SMALL, llm)
    assert seconds(replace(several, names=[*"abcdefgh"]), "embed-minilm") > seconds(several, "embed-minilm")


@pytest.mark.parametrize(("labels", "least"), [(3, 100), (77, 77 * ADVISED_PER_LABEL), (151, 151 * ADVISED_PER_LABEL)])
def test_the_limit_grows_with_the_labels(catalog: Catalog, labels: int, least: int) -> None:
    rows = replace(grown(SMALL, 1000), names=[f"label {n}" for n in range(labels)])
    limit = first_runs(rows, catalog).limits.test
    assert limit is not None
    assert limit >= least
    few = replace(grown(rows, 1), test={"en": least})
    assert first_runs(few, catalog).limits.test is None or labels == 3


def test_a_model_of_two_backends_is_downloaded_once(catalog: Catalog) -> None:
    assert first_runs(SMALL, catalog).mib == RATES["minilm"].mib + RATES["qwen-coder-0.5b"].mib


def test_extras_that_are_not_installed_are_named_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_runs(SMALL, catalog).extras == ()
    monkeypatch.setattr(run_time, "find_spec", lambda name: None if name == "torch" else object())
    assert first_runs(SMALL, catalog).extras == ("train", "llm")
