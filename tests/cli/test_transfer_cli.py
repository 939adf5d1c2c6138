"""`bench study transfer`: the runs, the table, the page and the picture."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.execution.worker import Worker

pytestmark = pytest.mark.slow

TRANSFER = ("study", "transfer")
OPTIONS = ("--backend", "tfidf", "--limit", 10, "--train-limit", 20)
MATRIX = (*TRANSFER, *OPTIONS, "--train-lang", "en,fr", "--lang", "en,fr")
FOLDER = Path("results") / "matrix"


def page(metric: str = "accuracy") -> Path:
    """Its name ends in a digest of the limits."""
    (found,) = FOLDER.glob(f"reviews_demo-tfidf-{metric}-??????.md")
    return found


@pytest.mark.slow
def test_every_training_language_meets_every_test_language(bench: Any, project: Path) -> None:
    pytest.importorskip("vl_convert")
    said = bench(*MATRIX, "--json")
    assert said.code == 0, said.err
    assert set(said.json) == {"task", "backend", "metric", "seeds", "page", "picture", "cells"}
    cells = {(*cell["train"], cell["lang"]): cell for cell in said.json["cells"]}
    assert list(cells) == [("en", "en"), ("en", "fr"), ("fr", "en"), ("fr", "fr")]
    assert [cell["trained"] for cell in cells.values()] == [True, False, False, True]
    assert {cell["n"] for cell in cells.values()} == {10}
    runs = bench("run", *OPTIONS, "--train-lang", "fr", "--lang", "en,fr", "--json")
    assert [run["state"] for run in runs.json] == ["found", "found"]  # they are the runs that `bench run` makes
    assert [run["metrics"]["values"]["accuracy"]["value"] for run in runs.json] == [
        cells["fr", "en"]["value"],
        cells["fr", "fr"]["value"],
    ]
    assert page().with_suffix(".svg").read_bytes().startswith(b"<svg")
    assert f"]({page().with_suffix('.svg').name})" in page().read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes_and_runs_nothing(bench: Any) -> None:
    first = bench(*MATRIX)
    before = [path.read_bytes() for path in sorted(FOLDER.iterdir())]
    again = bench(*MATRIX)
    assert again.err.count("found, nothing to do") == 4
    assert again.out == first.out
    assert [path.read_bytes() for path in sorted(FOLDER.iterdir())] == before


@pytest.mark.slow
def test_a_row_for_each_validation_language_and_for_joint_training(bench: Any) -> None:
    said = bench(*TRANSFER, *OPTIONS, "--train-lang", "fr,en+fr", "--lang", "en,fr", "--validation-lang", "own,en")
    assert said.code == 0, said.err
    header, *rows = [line.split("\t") for line in said.out.splitlines()]
    assert header == ["trained on", "validated on", "en", "fr"]
    assert [row[:2] for row in rows] == [["fr", "own"], ["fr", "en"], ["en+fr", "own"], ["en+fr", "en"]]
    assert all(re.fullmatch(r"\d\.\d{3} ?\*?◆? \[\d\.\d{3}, \d\.\d{3}\]", cell) for row in rows for cell in row[2:])
    assert ["◆" in cell for cell in rows[0][2:]] == [False, True]
    assert ["◆" in cell for cell in rows[2][2:]] == [True, True]
    assert any("*" in row[2] for row in rows)


@pytest.mark.slow
def test_own_in_other_words_is_one_row(bench: Any) -> None:
    said = bench(*MATRIX, "--validation-lang", "own,en,own", "--json")
    pairs = {(*cell["train"], *cell["validation"]) for cell in said.json["cells"]}
    assert pairs == {("en", "en"), ("fr", "fr"), ("fr", "en")}
    assert len(said.json["cells"]) == 6


@pytest.mark.slow
def test_several_seeds_and_another_metric(bench: Any) -> None:
    said = bench(*MATRIX, "--seed", "0,1", "--metric", "mae", "--json")
    assert said.json["seeds"] == [0, 1]
    assert all(len(cell["runs"]) == 2 for cell in said.json["cells"])
    column = [cell for cell in said.json["cells"] if cell["lang"] == "en"]
    assert min(column, key=lambda cell: cell["value"])["best"]
    assert "mean of 2 seeds" in page("mae").read_text(encoding="utf-8")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_a_terminal_shows_colours(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    bench(*MATRIX)
    monkeypatch.setattr(sys, "stdout", terminal)
    bench(*MATRIX)
    shown = terminal.getvalue()
    assert "48;2;" in shown  # a background
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert "tfidf · reviews_demo" in lines[0]
    assert max(map(len, lines)) <= 80
    assert sum("◆" in line for line in lines) == 2


@pytest.mark.slow
def test_without_vl_convert_the_table_still_comes(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench(*MATRIX)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    said = bench(*MATRIX, "--json")
    assert said.code == 0
    assert said.json["picture"] is None
    assert "bench-harness[charts]" in said.err
    assert [path.name for path in FOLDER.iterdir()] == [page().name]
    assert "![" not in page().read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_that_fails_is_shown_and_the_exit_code_says_so(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.core.errors import RunError

    one = Worker._run

    def failing(worker: Worker, request: Any, shard: Any) -> Any:
        if (request.train_lang, request.lang) == (("fr",), "en"):
            raise RunError("no memory left")
        return one(worker, request, shard)

    monkeypatch.setattr(Worker, "_run", failing)
    said = bench(*MATRIX)
    assert said.code == 1
    assert said.out.splitlines()[2].split("\t")[2] == "failed"
    assert "failed" in page().read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "smollm2"], "is not trained"),
        (["--backend", "mdeberta-xnli"], "is not trained"),
        (["--backend", "qwen-instruct-lora"], "a language model that is trained"),
        (["--backend", "tfidf", "--lang", "xx"], "named 'xx'"),
        (["--backend", "tfidf", "--train-lang", "en+xx"], "named 'xx'"),
        (["--backend", "tfidf", "--validation-lang", "xx"], "named 'xx'"),
        (["--backend", "tfidf", "--train-lang", "en+"], "named ''"),
        (["--backend", "tfidf", "--metric", "speed"], "no metric 'speed'"),
        (["--backend", "tfidf", "--set", "c"], "expected KEY=VALUE"),
        (["--backend", "tfidi"], "Did you mean tfidf"),
    ],
    ids=" ".join,
)
def test_mistakes_are_found_before_the_first_run(bench: Any, project: Path, options: list[str], words: str) -> None:
    said = bench("study", "transfer", *options)
    assert said.code == 2
    assert words in said.err
    assert not (project / "results").exists()


@pytest.mark.slow
def test_grids_made_with_other_options_stand_side_by_side(bench: Any) -> None:
    assert bench(*MATRIX).code == 0
    assert bench(*MATRIX, "--set", "c=2").code == 0
    assert bench("study", "transfer", "--backend", "majority", "--train-lang", "en", "--lang", "en").code == 0
    assert len(list(FOLDER.glob("reviews_demo-tfidf-accuracy-*.md"))) == 2
    assert (FOLDER / "reviews_demo-majority-accuracy.md").is_file()


@pytest.mark.slow
def test_grids_of_names_that_a_file_system_takes_for_each_other(bench: Any, project: Path) -> None:
    (project / "backends").mkdir()
    for name in ("Mine", "mine", "x" * 230):
        (project / "backends" / f"{name}.yaml").write_text(
            "engine: baseline\noptions: {classifier: majority}\n", encoding="utf-8"
        )
        said = bench("study", "transfer", "--backend", name, "--train-lang", "en", "--lang", "en")
        assert said.code == 0, said.err
    assert len({path.name.casefold() for path in FOLDER.glob("*.md")}) == 3
