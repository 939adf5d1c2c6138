"""The files that the docs show are good ones, and their tables are true."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from console import Bench, Said
from shell import PAGES, ROOT, Block, blocks, file_name, write_examples

from harness.core.types import Example, LabelKind, LabelSpace
from harness.parsing.parsers import REASONS, make_parser
from harness.parsing.prompt_check import check_prompt
from harness.specs.backend_specs import load_backend
from harness.specs.parser_spec import ParserSpec
from harness.specs.prices import load_prices
from harness.specs.prompts import load_prompt
from harness.specs.recipes import load_recipe
from harness.specs.reported import load_reported
from harness.specs.tasks import load_task

pytestmark = pytest.mark.slow

STARS = LabelSpace(LabelKind.ORDINAL, tuple(f"{n} stars" for n in range(1, 6)))
FEELINGS = LabelSpace(LabelKind.ORDINAL, ("negative", "neutral", "positive"))
LOADERS: dict[str, Callable[[Path], Any]] = {
    "tasks": load_task,
    "backends": load_backend,
    "recipes": load_recipe,
    "reported": load_reported,
}


def shown(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *languages)]


@pytest.mark.parametrize("block", shown("yaml"), ids=lambda block: f"{block.page}:{block.line}")
def test_yaml_loads(block: Block, tmp_path: Path) -> None:
    kind = kind_of(block)
    path = tmp_path / ("prices.yaml" if kind == "prices" else "mine.yaml")
    path.write_text(block.text, encoding="utf-8")
    if kind == "prices":
        assert load_prices(tmp_path).own.hardware
    elif kind is not None:
        assert LOADERS[kind](path)


def kind_of(block: Block) -> str | None:
    """By the file's name, where the first line says it; else by a key that only one kind has. None: of another tool."""
    named = file_name(block)
    if named is not None:
        return Path(named).stem if named == "prices.yaml" else Path(named).parent.name
    only = {"engine": "backends", "labels": "tasks", "runs": "recipes", "figures": "reported"}
    keys = yaml.safe_load(block.text) or {}
    return next((kind for key, kind in only.items() if key in keys), None)


@pytest.mark.parametrize("block", shown("jinja"), ids=lambda block: f"{block.page}:{block.line}")
def test_prompts_are_good(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "example.j2"
    path.write_text(block.text, encoding="utf-8")
    assert check_prompt(load_prompt(path), STARS, [Example("1", "A fine kettle.", 4, "en")], []) == []


@pytest.mark.parametrize("block", shown("python"), ids=lambda block: f"{block.page}:{block.line}")
def test_python_compiles(block: Block) -> None:
    compile(block.text, f"{block.page}:{block.line}", "exec")


def test_the_notebook_runs(project: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import harness

    assert bench("run", "--backend", "majority,tfidf", "--lang", "en", "--limit", 5).code == 0
    (name, *_) = [path.name for path in (project / "results" / "runs").iterdir()]
    load = harness.load_predictions  # the page names a recorded run
    monkeypatch.setattr(harness, "load_predictions", lambda run=None: load(run and name), raising=False)
    names: dict[str, Any] = {}
    for block in blocks("docs/notebooks.md", "python"):
        exec(compile(block.text, block.page, "exec"), names)
    assert len(names["runs"]) == 2
    assert len(names["rows"]) == 10


def test_the_api_example_runs(project: Path, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """That of `help(harness)`, which the reference shows."""
    import inspect

    import harness

    code = re.findall(r"^    (.*)$", inspect.cleandoc(harness.__doc__ or ""), re.MULTILINE)
    exec("\n".join(code), {})
    value = re.search(r"\bvalue=([\d.]+)", capsys.readouterr().out)
    assert value is not None
    assert 0 <= float(value[1]) <= 1


@pytest.mark.parametrize(("heading", "kind", "labels"), [("## `integer`", "integer", STARS), ("## `label`", "label", FEELINGS)])
def test_answers_are_read_as_the_page_says(heading: str, kind: Any, labels: LabelSpace) -> None:
    section = (ROOT / "docs" / "parsing.md").read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|$", section, re.MULTILINE)
    assert len(rows) > 5
    parser = make_parser(ParserSpec(type=kind), labels)
    for answer, said in rows:
        found = parser.parse(answer.replace("\\n", "\n"))
        index = found.label if isinstance(found.label, int) else -1
        read = f"refused: `{found.reason}`" if found.label is None else str(index) if kind == "integer" else labels.names[index]
        assert read == said, answer


def test_every_reason_of_a_refusal_is_told() -> None:
    page = (ROOT / "docs" / "parsing.md").read_text(encoding="utf-8")
    assert [reason for reason, means in REASONS.items() if f"| `{reason}` | {means} |" not in page] == []


def test_records_have_the_keys_that_the_page_tells(project: Path, bench: Bench) -> None:
    assert bench("run", "--backend", "majority", "--lang", "en", "--limit", 5).code == 0
    (record,) = (project / "results" / "runs").glob("*/run.json")
    table = (
        (ROOT / "docs" / "records.md").read_text(encoding="utf-8").partition("`run.json` has\n")[2].partition("\n\n`harness")[0]
    )
    told = {name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert told == set(json.loads(record.read_text(encoding="utf-8")))


def test_the_engine_of_the_page_trains_and_is_kept(plugin: Path, bench: Bench) -> None:
    """Twice the same labels, the second time from what `save` wrote; better than always the same answer."""
    first = bench("run", "--backend", "trigrams,majority", "--lang", "en", "--json")
    again = bench("run", "--backend", "trigrams", "--lang", "en", "--force", "--json")
    assert (first.code, again.code) == (0, 0), first.err + again.err
    trigrams, majority = accuracies(first)
    assert accuracies(again) == [trigrams]
    assert yaml.safe_load(again.out)[0]["model_from_cache"]
    assert trigrams > majority


def accuracies(said: Said) -> list[float]:
    return [run["metrics"]["values"]["accuracy"]["value"] for run in yaml.safe_load(said.out)]


def test_two_pages_do_not_show_the_same_file(tmp_path: Path) -> None:
    named = [name for block in shown("yaml", "python", "toml") if (name := file_name(block))]
    assert len(named) == len(set(named))
    write_examples(tmp_path)
    assert (tmp_path / "tasks" / "tickets.yaml").is_file()
    assert (tmp_path / "prompts" / "blunt.j2").is_file()
