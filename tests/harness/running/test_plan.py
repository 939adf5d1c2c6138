"""From a request to a plan: which rows, and what makes two runs the same run."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.errors import UserError
from harness.core.options import RunOptions
from harness.core.record import Identity
from harness.core.types import Decoding, Example
from harness.data.drawing import first_rows
from harness.running.plan import make_plan
from harness.specs.catalog import Catalog

Change = Callable[[Path], dict[str, Any]]


def edit(name: str, old: str, new: str) -> Change:
    """Change a file of the project."""

    def change(project: Path) -> dict[str, Any]:
        path = project / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return {}

    return change


def edit_row(split: str, **values: Any) -> Change:
    """Change the first English row of a split."""

    def change(project: Path) -> dict[str, Any]:
        rows = toy.read_rows(project, split)
        rows[0].update(values)
        toy.write_rows(project, split, rows)
        return {}

    return change


def ask(**changes: Any) -> Change:
    return lambda project: changes


def add_variant(project: Path) -> dict[str, Any]:
    shutil.copy(project / "prompts" / "echo.j2", project / "prompts" / "echo.en.j2")
    return {}


def new_weights(project: Path) -> dict[str, Any]:
    toy.write_checkpoint(project / "weights" / "tiny", shift=1)
    return {}


def other_name(folder: str, name: str) -> Change:
    def change(project: Path) -> dict[str, Any]:
        shutil.copy(project / folder / f"{name}.yaml", project / folder / "other.yaml")
        return {folder.removesuffix("s"): "other"}

    return change


COMMON: dict[str, Change] = {
    "a text": edit_row("test", text="something else says 1"),
    "a label": edit_row("test", label=2),
    "an id": edit_row("test", id="renamed"),
    "label names": edit("tasks/toy.yaml", "fair", "middling"),
    "kind of labels": edit("tasks/toy.yaml", "kind: ordinal", "kind: nominal"),
    "task name": other_name("tasks", "toy"),
    "split": ask(split="validation"),
    "language": ask(lang="de"),
    "limit": ask(limit=5),
    "seed": ask(seed=1),
}
FOR_MODELS: dict[str, Change] = {
    **COMMON,
    "weights": new_weights,
    "options": edit("backends/toy-model.yaml", "model:", "options: {flavour: other}\nmodel:"),
    "backend name": other_name("backends", "toy-model"),
    "prompt text": edit("prompts/echo.j2", "{{ text }}", "Rate: {{ text }}"),
    "prompt settings": edit("prompts/echo.j2", "parser: integer", "parser: integer\nmax_new_tokens: 3"),
    "prompt name": ask(prompt="shown"),
    "prompt variant": add_variant,
    "decoding": ask(decoding=Decoding.CONSTRAINED),
}
FOR_CLASSIFIERS: dict[str, Change] = {
    **COMMON,
    "options": edit("backends/toy-classifier.yaml", "\n", "\noptions: {batch: 4}\n"),
    "backend name": other_name("backends", "toy-classifier"),
    "train languages": ask(train_lang=("en", "de")),
    "train row": edit_row("train", text="something else says 1"),
    "train label": edit_row("train", label=1),
    "validation row": edit_row("validation", text="something else says 1"),
    "train limit": ask(train_limit=3),
}


@pytest.mark.parametrize(
    ("backend", "change"),
    [
        *(pytest.param("toy-model", change, id=f"model-{name}") for name, change in FOR_MODELS.items()),
        *(pytest.param("toy-classifier", change, id=f"classifier-{name}") for name, change in FOR_CLASSIFIERS.items()),
    ],
)
def test_what_changes_the_outcome_changes_the_run(project: Path, backend: str, change: Change) -> None:
    before = toy.plan(project, backend).run_id
    assert toy.plan(project, **{"backend": backend, **change(project)}).run_id != before


@pytest.mark.parametrize("values", [{"text": "other words say 0"}, {"id": "renamed"}], ids=str)
def test_few_shot_examples_are_part_of_the_identity(project: Path, values: dict[str, str]) -> None:
    toy.write_rows(project, "train", [toy.row("train", "en", n, str(n), n) for n in range(3)])  # all three are shown
    before = toy.plan(project, prompt="shown").run_id
    edit_row("train", **values)(project)
    assert toy.plan(project, prompt="shown").run_id != before


def test_the_same_rows_in_another_split_are_another_run(project: Path) -> None:
    toy.write_rows(project, "validation", toy.read_rows(project, "test"))
    first, second = toy.plan(project), toy.plan(project, split="validation")
    assert first.rows == second.rows
    assert first.run_id != second.run_id


def test_training_rows_are_no_part_of_a_prompted_run_without_few_shot_examples(project: Path) -> None:
    before = toy.plan(project).run_id
    edit_row("train", text="something else says 1")(project)
    assert toy.plan(project).run_id == before


@pytest.mark.parametrize("backend", ["toy-model", "toy-classifier"])
def test_the_order_of_rows_and_the_format_of_files_do_not_matter(project: Path, tmp_path: Path, backend: str) -> None:
    before = toy.plan(project, backend, limit=6)
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        rows = toy.read_rows(project, split)
        random.Random(3).shuffle(rows)
        toy.write_rows(project, split, rows)
        with (data / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    assert toy.plan(project, backend, limit=6).run_id == before.run_id
    assert toy.plan(project, backend, limit=6, data=data).run_id == before.run_id


def test_where_things_lie_and_what_is_only_described_do_not_matter(project: Path, tmp_path: Path) -> None:
    before = toy.plan(project).run_id
    moved = tmp_path / "elsewhere"
    shutil.copytree(project, moved)
    edit("backends/toy-model.yaml", str(project), str(moved))(moved)
    shutil.rmtree(project)
    edit("tasks/toy.yaml", "description: d", "# a remark\ndescription: other")(moved)
    assert toy.plan(moved).run_id == before
    assert str(moved) not in repr(toy.plan(moved).identity)


def test_two_checkpoints_of_one_name_are_two_runs(project: Path, tmp_path: Path) -> None:
    a, b = (toy.write_checkpoint(tmp_path / folder / "mine", shift) for shift, folder in enumerate("ab"))
    first, second = toy.plan(project, model=str(a)), toy.plan(project, model=str(b))
    assert first.identity.backend.model == second.identity.backend.model == "mine"
    assert first.run_id != second.run_id


def test_facts_that_only_the_engine_knows_are_part_of_the_identity(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = toy.plan(project).run_id
    monkeypatch.setattr(toy.ToyModel, "facts", lambda self: {"dtype": "float16"})
    assert toy.plan(project).run_id != before


def test_a_run_id_is_readable_and_a_file_name(project: Path) -> None:
    (project / "backends" / "a b+c.yaml").write_text("engine: toy_classifier\n")
    found = toy.plan(project, "a b+c", train_lang=("de", "en"), seed=7).run_id
    assert found.rpartition(".")[0] == "toy.en.a-b-c.from-de-en.s7"
    assert toy.plan(project).run_id.startswith("toy.en.toy-model.echo.free.s0.")


def test_a_run_id_of_long_names_is_a_file_name_too(project: Path) -> None:
    identity = toy.plan(project).identity.as_json()
    ids = [Identity.model_validate({**identity, "lang": lang}).run_id for lang in ("x" * 250, "x" * 251, "é" * 300, "Zh", "zh")]
    assert len({name.casefold() for name in ids}) == len(ids)
    assert all(len(f"{name}.replaced.partial".encode()) <= 255 for name in ids)
    assert all(".toy-model.echo.free.s0." in name for name in ids)


def test_a_prompt_in_its_language_and_the_decoding_that_was_asked_for(project: Path) -> None:
    add_variant(project)
    plan = toy.plan(project, decoding=Decoding.SCORE)
    assert plan.prompt is not None
    assert (plan.prompt.prompt.lang, plan.prompt.prompt.spec.decoding) == ("en", Decoding.SCORE)
    other = toy.plan(project, lang="de").prompt
    assert other is not None
    assert other.prompt.lang is None


def test_training_takes_all_languages_and_limits_each(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier", train_lang=("de", "en"), train_limit=4)
    assert plan.training is not None
    assert [example.lang for example in plan.training.train] == ["de"] * 4 + ["en"] * 4
    assert len(plan.training.validation) == 6
    alone = toy.plan(project, "toy-classifier").training
    assert alone is not None
    assert alone.langs == ("en",)


def test_every_backend_gets_the_same_rows(project: Path) -> None:
    rows = [toy.plan(project, backend, limit=6).rows for backend in ("toy-model", "toy-classifier", "majority", "tfidf")]
    assert rows[0] == rows[1] == rows[2] == rows[3]


def test_a_backend_without_the_model_that_it_needs(project: Path) -> None:
    (project / "backends" / "bare.yaml").write_text("engine: toy_model\n")
    with pytest.raises(UserError, match="'bare' names no model"):
        toy.plan(project, "bare")
    assert toy.plan(project, "bare", model=str(project / "weights" / "tiny")).checkpoint is not None


def test_the_default_prompt_follows_the_kind_of_labels(project: Path) -> None:
    plan = make_plan(RunOptions(task="toy", backend="toy-model", lang="en"), Catalog(project))
    assert plan.prompt is not None
    assert plan.prompt.prompt.name == "strict"


def examples(count: int) -> list[Example]:
    return [Example(f"id-{number}", "t", number * 5 // count, "en") for number in range(count)]


def test_a_smaller_choice_of_rows_lies_in_every_larger_one() -> None:
    rows = examples(1000)
    small, large = ({row.id for row in first_rows(rows, limit)} for limit in (100, 500))
    assert (len(small), len(large)) == (100, 500)
    assert small < large
    assert len({row.label for row in rows if row.id in small}) == 5  # of a file that is sorted by label


def test_the_choice_depends_on_ids_alone_and_keeps_the_order_of_the_file() -> None:
    rows = examples(200)
    shuffled = random.Random(1).sample(rows, len(rows))
    chosen = first_rows(shuffled, 50)
    assert {row.id for row in chosen} == {row.id for row in first_rows(rows, 50)}
    assert chosen == [row for row in shuffled if row in chosen]


@pytest.mark.parametrize("limit", [None, 20, 21, 10**9])
def test_no_limit_or_one_that_is_too_large_takes_all(limit: int | None) -> None:
    assert first_rows(examples(20), limit) == examples(20)


def test_ids_that_are_no_valid_unicode_do_not_stop_a_choice() -> None:
    assert len(first_rows([Example(f"\ud800{n}", "t", 0, "en") for n in range(9)], 4)) == 4


def test_the_model_that_a_server_has_is_the_one_of_the_identity(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.ToyServer, "facts", lambda self: {"model": "found-there"})
    assert toy.plan(project, "toy-server").identity.backend.model == "found-there"
