"""What each command prints: its help, and typical calls on a few of the committed records. One file a command: tests/golden/.

After a change of wording `pytest tests/cli/test_golden.py --update-golden` writes the files; read the diff before you commit.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from console import Bench, all_commands

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
TASK = "amazon_reviews_multi"
E5, TFIDF, MINILM = (
    f"{TASK}.en.{end}"
    for end in ("e5-small.from-en.s0.93bfe7e3e2", "tfidf.from-en.s0.16cb0199bb", "minilm.from-en.s0.ef2f01221d")
)
FEWSHOT, STRICT = (f"{TASK}.en.smollm2.{end}" for end in ("fewshot.score.s0.4f36660db9", "strict.score.s0.c2f11d955a"))
STORE = [
    *(E5, TFIDF, MINILM, FEWSHOT, STRICT),
    f"{TASK}.en.majority.from-en.s0.afef4b9e73",
    f"{TASK}.en.smollm2.strict.free.s0.c9c608f3dd",
    f"{TASK}.fr.tfidf.from-en.s0.feb4259d80",
    f"{TASK}.fr.tfidf.from-fr.s0.c43d6bcb85",
]
FEW = "--lang en --limit 20"

CALLS: dict[str, list[str]] = {
    "init": ["init reviews.csv", "init nothing.csv"],
    "run": [f"run --backend majority,tfidf {FEW}", f"run --backend majority {FEW}", "run --backend mistrial"],
    "label": ["label --backend tfidf --lang en --rows nothing.csv --output out.csv", "label --backend tfidf --output out.csv"],
    "leaderboard": ["leaderboard", "leaderboard --check"],
    "show": [f"show {E5}", f"show {STRICT}", "show nothing"],
    "compare": [f"compare {TFIDF} {E5}", f"compare {MINILM} {E5}", f"compare {TFIDF}"],
    "recommend": [f"recommend --task {TASK} --lang en", f"recommend --task {TASK} --lang en --min-f1 0.9"],
    "list": ["list tasks", "list backends", "list prompts", "list recipes", "list runs", "list nothing"],
    "doctor": [],  # it tells of the machine
    "schema": ["schema --output schemas"],
    "study tune": ["study tune --backend words --trials 2 --train-limit 40 --lang en", "study tune --backend tfidf"],
    "study curve": [f"study curve --encoder tfidf,majority --sizes 8,16 --seed 0,1 {FEW}", "study curve"],
    "study transfer": ["study transfer --backend tfidf --train-lang en,fr --lang en,fr --limit 20", "study transfer"],
    "study recipe": ["study recipe bert-douban --dry-run", "study recipe nothing"],
    "analyze cost": ["analyze cost", f"analyze cost {E5} {STRICT} --predictions 1e5 --label-usd 0.05"],
    "analyze latency": ["analyze latency --backend nothing"],
    "analyze calibration": [f"analyze calibration {E5}", f"analyze calibration {E5} {TFIDF}"],
    "analyze cascade": [f"analyze cascade {TFIDF} {E5}", f"analyze cascade {TFIDF} {TFIDF}"],
    "analyze overall": ["analyze overall", "analyze overall --lang ja"],
    "analyze data": ["analyze data --task reviews_demo --lang en"],
    "prompts show": ["prompts show strict --lang en"],
    "prompts check": ["prompts check strict --lang en"],
    "prompts optimize": ["prompts optimize --backend tfidf", "prompts optimize --backend smollm2 --prompt strikt"],
    "prompts spread": ["prompts spread", "prompts spread --lang fr"],
    "model card": [f"model card {E5}", f"model card {STRICT}"],
    "model push": [f"model push {E5} me/model --dry-run"],
    "results export": ["results export --output runs.csv", f"results export {E5} --what predictions --output rows.csv"],
    "results import": ["results import lm-eval nothing --task reviews_demo --lang en"],
    "results merge": ["results merge", "results merge nothing"],
    "results rescore": ["results rescore", "results rescore nothing"],
    "cache prune": ["cache prune"],
}
SLOW = {"study tune", "study curve", "study transfer", "leaderboard", "compare", "recommend", "results rescore"}
MASKS = [
    (r"(?m)^\[\d+/\d+\] \S+ \S+ [a-z ]+: .*\n", ""),  # progress, which only a slow machine shows
    (r"\b[0-9a-f]{10}\b", "##########"),
    (r"\b20\d\d-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?", "<date>"),
    (r"\b\d+:\d\d\b", "<time>"),
    (r"\b[\d.,]+(?= ?(s|ms|seconds|minutes|rows/s)\b)", "#"),
    (r"\b[\d.]+(?= ?(kB|MB|MiB|GB|GiB|bytes)\b)", "#"),
]


@pytest.fixture
def project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With records, a table of one's own, a backend to search, and an empty cache."""
    monkeypatch.setenv("BENCH_CACHE", str(project / "cache"))
    for run in STORE:
        shutil.copytree(ROOT / "results" / "runs" / run, project / "results" / "runs" / run)
    with (project / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "stars"])
        table.writerows([f"Kettle {n} is {('bad', 'fair', 'good')[n % 3]}.", 1 + 2 * (n % 3)] for n in range(60))
    (project / "backends").mkdir()
    words = "engine: baseline\noptions: {classifier: tfidf}\nsearch: {c: {low: 0.1, high: 10, log: true}}\n"
    (project / "backends" / "words.yaml").write_text(words, encoding="utf-8")
    return project


def masked(text: str, project: Path) -> str:
    """Without what differs between two machines or two days."""
    text = text.replace(str(project), "<project>")
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ["", *all_commands()]]
)
def test_what_it_prints(command: str, bench: Bench, project: Path, golden: Callable[[str, str], None]) -> None:
    text = ""
    for call in [f"{command} --help".strip(), *CALLS.get(command, [])]:
        said = bench(*call.split())
        text += f"$ bench {call}\n{said.out}"
        text += f"--- stderr\n{said.err}" if said.err else ""
        text += f"--- exit {said.code}\n\n"
    for page in sorted((project / "results").rglob("*.md")):
        text += f"$ cat {page.relative_to(project).as_posix()}\n{page.read_text(encoding='utf-8')}\n"
    golden(command.replace(" ", "-") or "bench", masked(text, project))


def test_each_command_has_a_file_and_each_file_a_command() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {"bench", *(name.replace(" ", "-") for name in all_commands())}
    assert set(CALLS) <= set(all_commands())
