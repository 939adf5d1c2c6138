"""Read the rows with the task that `bench init` wrote, as a run will, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.core.errors import PromptError
from harness.core.types import Example
from harness.data.duplicates import normalized
from harness.data.guess.inspect_file import Found, twin_notes
from harness.data.rows import load_examples
from harness.parsing.prompt_check import Severity, check_prompt
from harness.specs.prompts import load_prompt
from harness.specs.tasks import SPLITS, TaskSpec
from harness.specs.yamlspec import parse_yaml_spec

CHECKED_ROWS = 50
MANY = 100_000
"""Rows of a file; of a larger one only the validation rows of a language are read, as each split reads the whole file again."""
MOST_READ = 2_000_000
"""Rows that are read to count twins, over all languages and splits."""


def tried(found: Found, text: str, path: Path, prompt: Path) -> Found:
    """`found` with what only the divided rows tell: how many test rows have the text of a train row.

    Reads the splits of the first language with the task `text`, which will lie at `path`, and renders the prompt; those of the
    other languages only where a text stands twice. Raises what a run would.
    """
    spec = parse_yaml_spec(text, path, TaskSpec, name=path.stem, folder=path.parent)
    lang = spec.languages[0]
    wanted = SPLITS if found.total <= MANY else ("validation",)
    rows = {split: load_examples(spec, lang=lang, split=split) for split in wanted}
    for problem in check_prompt(load_prompt(prompt), spec.label_space, rows["validation"][:CHECKED_ROWS], []):
        if problem.severity is Severity.ERROR:
            raise PromptError(problem.message, "Rename the labels in the data, or name another column: --label NAME.")
    counted = found.counted
    affordable = found.total <= MANY and 2 * len(spec.languages) * found.total <= MOST_READ
    if counted.leaked is None and affordable:
        leaked = _leaked(rows["train"], rows["test"])
        for code in spec.languages[1:]:
            train, test = (load_examples(spec, lang=code, split=split) for split in ("train", "test"))
            leaked += _leaked(train, test)
        counted = replace(counted, leaked=leaked)
    return replace(found, counted=counted, notes=[*found.notes, *twin_notes(counted, found.division.stratified)])


def test_ids(text: str, path: Path) -> dict[str, list[str]]:
    """By language, which rows the task `text` draws for the test."""
    spec = parse_yaml_spec(text, path, TaskSpec, name=path.stem, folder=path.parent)
    return {lang: sorted(row.id for row in load_examples(spec, lang=lang, split="test")) for lang in spec.languages}


def _leaked(train: Sequence[Example], test: Sequence[Example]) -> int:
    """Test rows whose text is a train row's."""
    known = {normalized(row.text) for row in train}
    return sum(normalized(row.text) in known for row in test)
