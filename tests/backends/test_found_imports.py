"""A command that computes nothing imports no library that computes: by the names of modules, never by time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "sklearn", "scipy", "pandas", "datasets", "sentence_transformers", "openai", "vllm")
CODE = """
import json, sys
from pathlib import Path
from harness.cli import main
out, heavy = sys.argv[1], json.loads(sys.argv[2])
sys.argv = ["bench", *sys.argv[3:]]
code = 0
try:
    main()
except SystemExit as ended:
    code = ended.code
Path(out).write_text(json.dumps([code, [name for name in heavy if name in sys.modules]]))
"""


def bench(folder: Path, *arguments: str) -> list[str]:
    """The heavy modules that the command imported."""
    out = folder / "imported.json"
    command = [sys.executable, "-c", CODE, str(out), json.dumps(HEAVY), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    status, imported = json.loads(out.read_text(encoding="utf-8"))
    assert status in (0, None), done.stderr
    return list(imported)


@pytest.mark.slow
def test_a_found_run_and_what_reads_records_import_nothing_heavy(tmp_path: Path) -> None:
    same = ("run", "--task", "reviews_demo", "--lang", "en", "--train-limit", "20", "--limit", "5", "-q")
    bench(tmp_path, *same, "--backend", "majority")
    assert bench(tmp_path, *same, "--backend", "majority") == []
    for command in (["--help"], ["list", "backends"], ["list", "runs"], ["show", "majority"]):
        assert bench(tmp_path, *command) == []


@pytest.mark.slow
def test_a_found_run_of_a_model_imports_no_torch(tmp_path: Path, bert: Path) -> None:
    same = ("run", "--task", "reviews_demo", "--lang", "en", "--train-limit", "20", "--limit", "5", "-q", "--model", str(bert))
    settings = ("--set", "train.epochs=1", "--validation-limit", "5")
    new = bench(tmp_path, *same, "--backend", "minilm", *settings)
    assert {"torch", "transformers"} <= set(new)
    assert bench(tmp_path, *same, "--backend", "minilm", *settings) == []
