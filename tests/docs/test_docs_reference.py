"""docs/reference/ is what the code says now."""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType

import pytest
from pydantic import BaseModel, Field
from shell import PAGES, ROOT, Block, blocks


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        return import_module("_reference")


@pytest.fixture(scope="module")
def pages(reference: ModuleType) -> dict[str, str]:
    made: dict[str, str] = reference.pages()
    return made


@pytest.mark.parametrize("name", ["cli.md", "yaml.md", "python.md"])
def test_the_committed_pages_are_those_of_the_code(name: str, pages: dict[str, str]) -> None:
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == pages[name], f"docs/reference/{name} no longer fits the code: run `make reference`"


def test_every_command_and_option_has_its_line(pages: dict[str, str]) -> None:
    assert "## bench run\n" in pages["cli.md"]
    assert "## bench prompts spread\n" in pages["cli.md"]
    assert "| `--limit N` |  | At most N test rows per language, always the same ones. |" in pages["cli.md"]
    assert "| `--results DIR` | `results` |" in pages["cli.md"]
    sections = pages["cli.md"].split("\n## bench ")[1:]
    undescribed = [section for section in sections if not re.search(r"--json[`*]* [\w ,]*prints", section)]
    assert [section.partition("\n")[0] for section in undescribed] == ["cache dir"], "it prints a path alone"


def test_every_public_name_is_described(pages: dict[str, str]) -> None:
    import harness

    assert [name for name in harness.__all__ if f"\n### {name}\n" not in pages["python.md"]] == []
    assert " object at 0x" not in pages["python.md"]
    assert "<function" not in pages["python.md"]


def test_a_field_is_told_in_words(reference: ModuleType) -> None:
    class Inner(BaseModel):
        share: float = Field(0.5, gt=0, le=1, description="a | b <c>")

    class Outer(BaseModel):
        name: str
        counts: list[int] = []
        inner: Inner | None = None
        made: Inner = Field(default_factory=lambda: Inner(share=1))

    reference.FILES["Outer"] = (Outer, "")
    shown = reference._model(Outer, "Outer")
    del reference.FILES["Outer"]
    assert "| `name` | text |  |  |" in shown[0]
    assert "| `counts` | list of whole numbers | empty |  |" in shown[0]
    assert "| `inner` | [Inner](#inner-outer) | none |  |" in shown[0]
    assert "| `made` | [Inner](#inner-outer) | its own |  |" in shown[0]
    assert shown[1] == "### Inner, outer"
    assert "| `share` | number > 0 ≤ 1 | `0.5` | a &#124; b &lt;c> |" in shown[2]


@pytest.mark.parametrize("block", [b for p in PAGES for b in blocks(p, "python")], ids=lambda b: f"{b.page}:{b.line}")
def test_what_pages_import_from_the_project_exists(block: Block) -> None:
    for module, names in re.findall(r"^from ((?:harness|backends)\S*) import ([\w, ]+)$", block.text, re.MULTILINE):
        missing = [name for name in names.split(", ") if not hasattr(import_module(module), name)]
        assert not missing, f"{module} has no {', '.join(missing)}"
