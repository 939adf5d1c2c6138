"""What a user gets: the public names, the wheel, and docs whose examples work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import harness
from harness.parsing.parsers import REASONS
from harness.parsing.prompt_check import check_prompt
from harness.records.store import Store
from harness.reports.leaderboard import markdown, read_entries, read_tables
from harness.specs.backend_specs import engine_class, load_backend
from harness.specs.prompts import load_prompt
from harness.specs.reported import read_reported
from harness.specs.tasks import load_task
from harness.specs.yamlspec import validate_options
from harness.types import Example, LabelKind, LabelSpace

ROOT = Path(__file__).parents[1]
STARS = LabelSpace(LabelKind.ORDINAL, tuple(f"{n} stars" for n in range(1, 6)))


def test_public_names() -> None:
    assert harness.__all__ == [
        "BenchError",
        "Catalog",
        "EngineSlot",
        "Example",
        "LabelKind",
        "LabelSpace",
        "ParserSpec",
        "Plan",
        "Prediction",
        "Request",
        "Result",
        "RunError",
        "Status",
        "Store",
        "UserError",
        "evaluate_predictions",
        "load_examples",
        "load_predictions",
        "load_runs",
        "make_parser",
        "make_plan",
        "run",
    ]
    for name in harness.__all__:
        assert getattr(harness, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harness.nothing  # noqa: B018


def test_wheel_runs_from_any_folder_with_its_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import harness.cli; assert harness.__file__.startswith(__import__('sys').argv.pop(1)); harness.cli.main()"
    for arguments, expected in (
        (["list", "tasks"], "reviews_demo"),
        (["list", "prompts"], "strict"),
        (["list", "backends"], "xlm-roberta"),
        (["run", "--backend", "majority", "--lang", "zh"], "majority"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(site), *arguments],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(site), "BENCH_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert (elsewhere / "results" / "runs").is_dir()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/prompts.md"])
def test_prompts_in_the_docs_are_good(page: str, tmp_path: Path) -> None:
    (text,) = blocks(page, "jinja")
    path = tmp_path / "example.j2"
    path.write_text(text, encoding="utf-8")
    assert check_prompt(load_prompt(path), STARS, [Example("1", "A fine kettle.", 4, "en")], []) == []


def test_tasks_in_the_docs_load(tmp_path: Path) -> None:
    examples = blocks("docs/tasks.md", "yaml")
    assert len(examples) == 3
    for number, text in enumerate(examples):
        path = tmp_path / f"task{number}.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_task(path).languages


def test_backends_in_the_docs_load(tmp_path: Path) -> None:
    examples = [*blocks("docs/backends.md", "yaml"), *blocks("docs/tuning.md", "yaml")]
    assert len(examples) == 3
    for text in examples:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        spec = load_backend(path)
        validate_options(spec.options, engine_class(spec.engine).Options, spec.name)


def test_the_docs_name_every_reason_of_a_refusal() -> None:
    page = (ROOT / "docs/prompts.md").read_text(encoding="utf-8")
    assert [reason for reason in REASONS if f"`{reason}`" not in page] == []


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_leaderboard_shows_the_records_and_nothing_else() -> None:
    store = Store(ROOT / "results" / "runs")
    entries, reported = read_entries(store), read_reported(ROOT / "results" / "reported")
    assert len(entries) > 0
    assert len(reported) > 0
    assert (ROOT / "results" / "LEADERBOARD.md").read_text(encoding="utf-8") == markdown(read_tables(store, entries), reported)


def test_records_hold_no_texts() -> None:
    allowed = {"id", "truth", "label", "status", "reason", "probabilities"}
    for path in (ROOT / "results" / "runs").glob("*/predictions.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            assert set(record) <= allowed
            assert record.get("reason") is None or re.fullmatch(r"[a-z_]+", record["reason"])


def test_every_extra_that_an_error_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    sources = [path.read_text(encoding="utf-8") for room in ("harness", "backends") for path in (ROOT / room).rglob("*.py")]
    named = {extra for source in sources for extra in re.findall(r'MissingExtra\(\s*[^,]+,\s*"(\w+)"', source)}
    assert {"notebooks", "charts"} <= named <= set(extras)
