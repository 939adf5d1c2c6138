"""Many rows: how long bench takes for them, and how much memory.

    python benchmarks/million.py --rows 1000000 --json million.json
    python benchmarks/million.py --rows 200000 --parts tfidf --json tfidf.json
    python benchmarks/million.py --rows 40000 --parts recall,reads

The rows are made up in a temporary folder: short texts of 5 to 15 words, one in fifty a changed copy of another, three labels.
Each command of bench is a whole process, interpreter, reading of the file and training included; the memory is its peak, looked
at four times a second, and that of the process which searches for duplicates beside it is added.

majority: `bench run --backend majority`
tfidf:    `bench run --backend tfidf`, beside scikit-learn by hand in a process of its own: the same pipeline, fitted on the
          same rows, predicts the same texts. The rates leave out the training: of bench, all other time of the process (start,
          reading, journal, duplicates, metrics and record included); of scikit-learn, vectorizers and `predict_proba` alone
compare:  `bench compare` of two runs of `majority`, the second of which is trained on fewer rows
search:   the search for duplicates among the rows alone
recall:   near duplicates among --rows texts that the search finds, of those that the exact join finds
reads:    how often the file of a task with six languages is read for a plan of all languages
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
from _results import described, markdown, setup_here, spread

from harness.core.json_files import write_atomically

LIBRARIES = ("scikit-learn", "numpy", "pyarrow")
TRAIN = 20_000
EVERY = 0.25
"""Seconds between two looks at the memory."""
MOST_EXACT = 40_000
"""Rows of the part `recall`, at most: the exact join compares all pairs."""
OURS = "from harness.cli import main; main()"
TASK = """\
description: made-up short texts
source: {files: {train: train.csv, validation: validation.csv, test: test.csv}}
labels: {kind: nominal, names: [bad, fair, good]}
languages: [en]
"""


@dataclass(frozen=True)
class Figures:
    """Of a process: seconds from start to end and on the processor (a thread more counts twice), peak memory in MiB; `rate`:
    rows per second, where the part has one."""

    part: str
    seconds: float
    processor: float
    memory: float | None = None
    rate: float | None = None
    note: str = ""
    repeat: int = 0


def made_up(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts and labels; each label has words of its own. One text in fifty is an earlier one with a word changed or added."""
    chance = random.Random(seed)
    letters = "eeeeettttaaaoooiiinnnsshhrrddlucmfwygpbvk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(50_000)]
    often = [1 / (5 + place) for place in range(len(words))]
    drawn = iter(chance.choices(words, often, k=count * 16))
    own = {label: words[place::3][:3000] for place, label in enumerate(("bad", "fair", "good"))}
    rows: list[tuple[str, str]] = []
    for _ in range(count):
        if rows and chance.random() < 0.02:
            text, label = chance.choice(rows)
            some = text.split()
            some[chance.randrange(len(some))] = next(drawn)
            rows.append((" ".join([*some, *([next(drawn)] if chance.random() < 0.3 else [])]), label))
            continue
        label = chance.choice(("bad", "fair", "good"))
        some = [next(drawn) for _ in range(chance.randint(4, 13))]
        rows.append((" ".join([*some, chance.choice(own[label]), chance.choice(own[label])]), label))
    chance.shuffle(rows)
    return rows


def write_project(folder: Path, count: int, seed: int) -> None:
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "million.yaml").write_text(TASK, encoding="utf-8")
    rows = made_up(count + TRAIN + 1000, seed)
    parts = {"test": rows[:count], "train": rows[count : count + TRAIN], "validation": rows[count + TRAIN :]}
    for split, some in parts.items():
        with (folder / "tasks" / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *some])


def measured(part: str, command: Sequence[str], folder: Path) -> Figures:
    """Raises `RuntimeError` if the command fails."""
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache"), "BENCH_PROGRESS": "0"}
    started = time.perf_counter()
    with (folder / f"{part}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
        family, peak, ended = psutil.Process(process.pid), 0.0, 0
        while not ended:
            peak = max(peak, held(family))
            time.sleep(EVERY)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if status:
        raise RuntimeError((folder / f"{part}.log").read_text(encoding="utf-8")[-2000:])
    return Figures(part, round(seconds, 2), round(usage.ru_utime + usage.ru_stime, 2), round(peak, 1))


def held(family: psutil.Process) -> float:
    """Memory of a process and its descendants in MiB; what they share counts once (PSS) where the system tells it."""
    total = 0
    with suppress(psutil.Error):
        for process in (family, *family.children(recursive=True)):
            with suppress(psutil.Error):  # it has ended
                told = process.memory_full_info()
                total += getattr(told, "pss", 0) or told.rss
    return total / 2**20


def _mebibytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def run(backend: str, folder: Path, *more: str) -> Figures:
    """`rate`: rows per second of the whole process but the training. `more`: further arguments of `bench run`."""
    command = [sys.executable, "-c", OURS, "run", "--force", "--task", "million", "--lang", "en", "--backend", backend, *more]
    found = measured(backend, command, folder)
    records = (folder / "results" / "runs").glob(f"*.{backend}.*/run.json")
    record = json.loads(max(records, key=lambda path: path.stat().st_mtime).read_text(encoding="utf-8"))
    after = found.seconds - record["timing"]["load_seconds"]
    timing, twins = record["timing"]["rows_per_second"], record["overlap"]["by"]["itself"]
    note = f"{timing:,.0f} rows/s by its record; duplicates: {twins['exact']} exact, {twins['near']} near"
    return replace(found, rate=round(record["n"] / after, 1), note=note)


def by_hand(folder: Path) -> Figures:
    found = measured("scikit-learn", [sys.executable, str(Path(__file__).resolve()), "--by-hand", str(folder)], folder)
    rate = float((folder / "scikit-learn.log").read_text(encoding="utf-8").split()[-1])
    return replace(found, rate=round(rate, 1))


def predict_by_hand(folder: Path) -> None:
    """Prints the rows per second of vectorizers and classifier, in parts of 10,000 rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion, make_pipeline

    features = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)),
        ]
    )
    model = make_pipeline(features, LogisticRegression(max_iter=1000))
    model.fit(*zip(*_read(folder / "tasks" / "train.csv"), strict=True))
    texts = [text for text, _ in _read(folder / "tasks" / "test.csv")]
    started = time.perf_counter()
    for start in range(0, len(texts), 10_000):
        model.predict_proba(texts[start : start + 10_000])
    print(len(texts) / (time.perf_counter() - started))


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def compare(folder: Path) -> Figures:
    for limit in (TRAIN, TRAIN // 2):
        run("majority", folder, "--train-limit", str(limit))
    runs = sorted(path.name for path in (folder / "results" / "runs").glob("*.majority.*"))[:2]
    return measured("compare", [sys.executable, "-c", OURS, "compare", *runs], folder)


def search(count: int, seed: int) -> Figures:
    from harness.data.duplicates import counted, find_duplicates

    texts = [text for text, _ in made_up(count, seed)]
    before = _mebibytes(resource.getrusage(resource.RUSAGE_SELF))
    started, worked = time.perf_counter(), time.process_time()
    found = counted(find_duplicates(texts))
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    added = _mebibytes(resource.getrusage(resource.RUSAGE_SELF)) - before
    return Figures(
        "search", round(seconds, 2), round(worked, 2), round(added, 1), round(count / seconds, 1), f"memory: added; {found}"
    )


def recall(count: int, seed: int) -> Figures:
    """Near duplicates by trigrams alone; the search for one place is the same for few rows and for many."""
    import numpy as np

    from harness.data import duplicates

    texts = duplicates.Prepared.of([text for text, _ in made_up(count, seed)])
    rows = np.arange(len(texts.distinct))
    started, worked = time.perf_counter(), time.process_time()
    banded = set(duplicates._by_minhash(texts, texts, rows, np.zeros(len(rows), dtype=bool), _unheard))
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    exact = set(duplicates._near(rows, texts.distinct, texts.distinct, rows, _unheard))
    share = len(banded & exact) / max(1, len(exact))
    others = len(banded - exact)
    note = f"MinHash finds {share:.1%} of the {len(exact):,} rows that the exact join of trigrams finds, and {others} others"
    return Figures("recall", round(seconds, 2), round(worked, 2), note=note)


def _unheard(done: int, total: int) -> None:
    """Of the progress of a search."""


def reads(languages: Sequence[str] = ("de", "en", "es", "fr", "ja", "zh")) -> Figures:
    """How often the files of a task with six languages in one file a split are read, for a plan of each language."""
    from harness.core.options import RunOptions
    from harness.data import read_once, sources
    from harness.running.plan import make_plan
    from harness.specs.catalog import Catalog

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tasks").mkdir()
        task = TASK.replace("languages: [en]", f"columns: {{lang: lang}}\nlanguages: [{', '.join(languages)}]")
        (folder / "tasks" / "million.yaml").write_text(task, encoding="utf-8")
        for split in ("train", "validation", "test"):
            rows = [(text, label, languages[row % 6]) for row, (text, label) in enumerate(made_up(600, len(split)))]
            with (folder / "tasks" / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("text", "label", "lang"), *rows])
        asked: list[object] = []
        read: list[object] = []
        once, one = read_once.read_once, read_once.read_file
        with (
            patch.object(read_once, "read_file", lambda *given: read.append(given) or one(*given)),
            patch.object(sources, "read_once", lambda *given: asked.append(given) or once(*given)),
        ):
            started, worked = time.perf_counter(), time.process_time()
            for lang in languages:
                make_plan(RunOptions(task="million", backend="majority", lang=lang), Catalog(folder))
            seconds, worked = time.perf_counter() - started, time.process_time() - worked
    return Figures(
        "reads", round(seconds, 2), round(worked, 2), note=f"3 files, asked for {len(asked)} times, read {len(read)} times"
    )


def table(record: Mapping[str, Any]) -> str:
    """Markdown of what `--json` writes: the median and the range of the repeats."""
    rows = []
    found = [Figures(**figures) for figures in record["parts"]]
    for part in dict.fromkeys(figures.part for figures in found):
        mine = [figures for figures in found if figures.part == part]
        columns: list[list[float | None]] = [
            [getattr(figures, name) for figures in mine] for name in ("seconds", "processor", "memory", "rate")
        ]
        cells = [spread([value for value in values if value is not None]) for values in columns]
        rows.append([part, f"{record['rows']:,}", *cells, mine[-1].note])
    return markdown(["part", "rows", "seconds", "on the processor", "MiB", "rows/s", "note"], rows, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.by_hand is not None:
        predict_by_hand(options.by_hand)
        return 0
    record: dict[str, Any] = {**setup_here(LIBRARIES).model_dump(mode="json"), "rows": options.rows, "parts": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"majority", "tfidf", "compare"} & set(options.parts):
            write_project(folder, options.rows, options.seed)
        ways: dict[str, Callable[[], list[Figures]]] = {
            "majority": lambda: [run("majority", folder)],
            "tfidf": lambda: [by_hand(folder), run("tfidf", folder)],
            "compare": lambda: [compare(folder)],
            "search": lambda: [search(options.rows, options.seed)],
            "recall": lambda: [recall(min(options.rows, MOST_EXACT), options.seed)],
            "reads": lambda: [reads()],
        }
        for repeat in range(options.repeats):
            for part in options.parts:
                record["parts"] += [asdict(replace(figures, repeat=repeat)) for figures in ways[part]()]
    print(f"{described(record)}\n\n{table(record)}")
    if options.json is not None:
        write_atomically(options.json, json.dumps(record, indent=1) + "\n")
    return 0


PARTS = ("majority", "tfidf", "compare", "search", "recall", "reads")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="of all parts, one after the other; default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by-hand", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
