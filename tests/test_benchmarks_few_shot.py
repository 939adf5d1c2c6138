"""`benchmarks/few_shot_embeddings.py`: draws have so many rows of each label, and both sides agree; nothing is timed here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
WORDS = ["kettle", "lid", "price"]


@pytest.fixture
def few_shot(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import few_shot_embeddings as module

    return module


def test_a_draw_has_as_many_rows_of_each_label(few_shot: Any) -> None:
    labels = [0] * 30 + [1] * 20 + [2] * 3
    rows = few_shot.draw(labels, 8, 0)
    assert Counter(labels[row] for row in rows) == {0: 8, 1: 8, 2: 3}
    assert len(set(rows)) == 19
    assert rows != few_shot.draw(labels, 8, 1)


def test_both_sides_agree(
    few_shot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built_once: Callable[..., Path]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "backends"))
    from tiny_models import write_bert

    (tmp_path / "backends").mkdir()
    bert = built_once("bert", write_bert)
    (tmp_path / "backends" / "tiny.yaml").write_text(f"engine: embedding\nmodel: {bert}\noptions: {{device: cpu}}\n")
    for split, count in (("train", 9), ("test", 5)):
        rows = [{"text": f"{word} is {'very ' * n}good", "label": word} for word in WORDS for n in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    found = few_shot.measure(tmp_path, "tiny", 4, 2)
    plain, fixed, chosen = found.values()
    assert plain == pytest.approx(fixed, abs=0.07)  # a row or none of 15
    assert len(chosen) == 2


def test_a_folder_without_the_columns_is_refused(few_shot: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.jsonl").write_text('{"words": "good"}\n')
    assert few_shot.main([str(tmp_path)]) == 2
    assert "train.jsonl" in capsys.readouterr().err
