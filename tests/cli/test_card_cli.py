"""`bench model card`: what it writes, where, and what it will not write over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from harness.reports.cards.card import make_card

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a few thousand weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "backends"))
        import tiny_models

        return Path(tiny_models.write_bert(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.fixture
def runs(bench: Any, encoder: Path) -> list[str]:
    cell: list[object] = ["--backend", "bert", "--model", encoder, "--train-lang", "en", "--train-limit", 20, "--limit", 12]
    cell += ["--validation-limit", 10, "--set", "train.epochs=2", "--set", "max_length=24", "--set", "device=cpu"]
    said = bench("run", *cell, "--lang", "en,ja", "--json")
    assert said.code == 0, said.err
    return [run["run"] for run in said.json]


def test_a_card_of_a_run_tells_of_all_runs_of_its_model(bench: Any, project: Path, runs: list[str]) -> None:
    said = bench("model", "card", runs[0])
    assert said.code == 0, said.err
    path = project / "results" / "cards" / runs[0] / "README.md"
    assert "covers 2 runs of its model (tested in en, ja)" in said.out
    assert f"{runs[0]}/README.md" in said.err
    readme = path.read_text(encoding="utf-8")
    data = ModelCard(readme).data
    assert {result.dataset_config for result in data.eval_results or []} == {"en", "ja"}
    assert "Source: reviews_demo, which comes with bench." in readme
    assert "Licence of the data: Apache-2.0." in readme
    assert "--model PATH" in readme
    assert "★" in readme
    assert str(project) not in readme

    listed = bench("model", "card", runs[0].rpartition(".")[2], "--output", project / "out", "--licence", "mit", "--json").json
    assert (listed["run"], sorted(listed["runs"]), listed["model"]) == (runs[0], sorted(runs), True)
    assert [Path(file).name for file in listed["files"]] == ["README.md"]  # no .eval_results: the data are not on the hub
    assert ModelCard((project / "out" / "README.md").read_text(encoding="utf-8")).data.license == "mit"
    assert bench("model", "card", runs[0], "--output", project / "out").code == 0  # a card of ours is replaced


def test_a_damaged_record_is_told_of(bench: Any, project: Path, runs: list[str]) -> None:
    (project / "results" / "runs" / runs[1] / "run.json").write_text("{")
    for command in (["model", "card", runs[0]], ["model", "push", runs[0], "me/x", "--dry-run"]):
        said = bench(*command)
        assert said.code == 0, said.err
        assert runs[1] in said.err


def test_what_is_no_card_is_not_written_over(bench: Any, project: Path, runs: list[str]) -> None:
    (project / "README.md").write_text("# My project\n")
    said = bench("model", "card", runs[0], "--output", ".")
    assert said.code == 2
    assert "not a card made by bench" in said.err
    assert (project / "README.md").read_text(encoding="utf-8") == "# My project\n"
    (project / "file").write_text("")
    assert bench("model", "card", runs[0], "--output", "file").code == 2


def test_slips(bench: Any, two_runs: list[str]) -> None:
    for run, words in ((two_runs[1], "the engine"), ("nothing", "There is no run 'nothing'")):
        said = bench("model", "card", run)
        assert said.code == 2
        assert words in said.err
        assert bench("model", "push", run, "me/x", "--dry-run").code == 2


def test_card_and_push_say_the_same(bench: Any, project: Path, runs: list[str]) -> None:
    from harness.records.store import Store
    from harness.reports.cards.facts import read_facts
    from harness.specs.catalog import Catalog

    bench("model", "card", runs[1])
    card = make_card(read_facts(Store(project / "results" / "runs"), runs[1], Catalog(project)))
    assert (project / "results" / "cards" / runs[1] / "README.md").read_text(encoding="utf-8") == card["README.md"]
