"""A project in which the commands of the docs can be run: small data, tiny checkpoints, a few runs, and the recorded ones."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
from console import Bench, Said, called

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))  # the builders of tiny checkpoints

from shell import ROOT, blocks, file_name, write_examples

DEMO = ROOT / "tasks" / "reviews_demo"
CAUSAL = ("smollm2", "mistral", "qwen", "llama")
ZERO_SHOT = ("zeroshot", "xnli", "mnli", "gliclass")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints, and a cache in which a model that several pages train is found."""
    pytest.importorskip("transformers")
    from tiny_models import tokenizer_of, write_bert, write_mistral, write_nli

    folder = tmp_path_factory.mktemp("shared")
    write_bert(folder / "encoder")
    write_nli(folder / "zero-shot")
    # Exemplars make prompts of a few thousand of its tokens, which are hardly longer than bytes.
    write_mistral(folder / "causal", tokenizer_of("chatml"), max_position_embeddings=32768)
    return folder


@pytest.fixture
def real_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """`real_bench("list", "backends")` in this process, through the entry point of the console script."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("BENCH_DEBUG", raising=False)

    def call(*arguments: object) -> Said:
        return called(arguments, monkeypatch, capsys)

    return call


@pytest.fixture
def bench(shared: Path, monkeypatch: pytest.MonkeyPatch, real_bench: Bench) -> Bench:
    """The same; whatever model a backend names, a tiny one of its kind takes its place."""
    from harness.models.checkpoints import Checkpoint, resolve_checkpoint

    def tiny(model: str, revision: str | None = None) -> Checkpoint:
        if Path(model).is_dir():
            return resolve_checkpoint(model, revision)
        kinds = {"causal": CAUSAL, "zero-shot": ZERO_SHOT}
        kind = next((kind for kind, names in kinds.items() if any(name in model.lower() for name in names)), "encoder")
        return Checkpoint(shared / kind, "path", model, "tiny")

    monkeypatch.setattr("harness.specs.backend_specs.resolve_checkpoint", tiny)
    monkeypatch.setenv("BENCH_CACHE", str(shared / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return real_bench


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the records that the docs speak of."""
    folder = tmp_path_factory.mktemp("recorded") / "results"
    shutil.copytree(ROOT / "results", folder, ignore=shutil.ignore_patterns("studies", "smoke", "*.partial"))
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with data for the examples: reviews.csv, the files of the task `tickets`, `rows` for --data."""
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "reviews.csv")
    write_tickets(tmp_path / "tasks" / "data")
    write_rows(tmp_path / "rows")
    return tmp_path


@pytest.fixture
def plugin(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The engine of docs/add-an-engine.md, found through the entry point that the page declares."""
    write_examples(project)
    declared = next(block for block in blocks("docs/add-an-engine.md", "toml") if file_name(block) == "pyproject.toml")
    points = tomllib.loads(declared.text)["project"]["entry-points"]["bench.engines"]
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setattr(
        "harness.specs.backend_specs.entry_points",
        lambda *, group: [*entry_points(group=group), *(EntryPoint(*point, group) for point in points.items())],
    )
    yield project
    sys.modules.pop("nearest_mean", None)


def demo_rows() -> Iterator[dict[str, Any]]:
    for split in ("train", "validation", "test"):
        for line in (DEMO / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            yield {**json.loads(line), "split": split}


def write_reviews(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "stars", "language"])
        table.writerows([row["text"], row["label"] + 1, row["lang"]] for row in demo_rows() if row["lang"] in ("en", "ja"))


def write_rows(folder: Path) -> None:
    """A --data folder: four train rows of each language and label, two of the other splits."""
    folder.mkdir()
    counts: Counter[tuple[str, str, int]] = Counter()
    lines: dict[str, str] = {"train": "", "validation": "", "test": ""}
    for row in demo_rows():
        split = row.pop("split")
        counts[split, row["lang"], row["label"]] += 1
        if counts[split, row["lang"], row["label"]] <= (4 if split == "train" else 2):
            lines[split] += json.dumps(row) + "\n"
    for split, text in lines.items():
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


def write_tickets(folder: Path) -> None:
    """Rows for the task `tickets` of docs/tasks.md."""
    folder.mkdir(parents=True)
    topics = ["billing", "delivery", "defect", "other"]
    for split, count in (("train", 24), ("val", 8), ("test", 12)):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["ticket", "subject", "body", "topic", "language"])
            for number in range(count):
                topic, lang = topics[number % 4], ("de", "en")[number // 4 % 2]
                table.writerow([f"{split}-{number}", f"About {topic} {number}", f"Case {number * 7}: {topic}", topic, lang])
