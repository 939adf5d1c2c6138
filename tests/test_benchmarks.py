"""The pure parts of `benchmarks/`: what is counted, what is chosen, what is written. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from harness.core.errors import RunError, UnknownName, UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PART = SimpleNamespace


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python benchmarks/llm.py` finds its neighbours."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_flops_by_hand() -> None:
    from _work import Shape, needed_flops

    shape = Shape(weights=100, layers=2, hidden=3, width=4, intermediate=5, vocabulary=7)
    # Two prompts, of 3 and 4 tokens, that share 2: tokens 0 and 1 once (contexts 1, 2), then 2 (3), and 2, 3 (3, 4).
    label = 2 * 100 * 5 + 4 * 4 * 2 * (1 + 2 + 3 + 3 + 4) + 2 * 3 * 7 * 2
    assert needed_flops(shape, [3, 4], 2) == label
    # Three generated tokens a prompt: two of them are read again, in contexts 4, 5 and 5, 6; the head is asked three times.
    text = 2 * 100 * 9 + 4 * 4 * 2 * (13 + 4 + 5 + 5 + 6) + 2 * 3 * 7 * 6
    assert needed_flops(shape, [3, 4], 2, new_tokens=3) == text
    assert needed_flops(shape, [3, 4], 2, new_tokens=1) == label


def test_what_prompts_share() -> None:
    from _work import shared_length

    assert shared_length([(1, 2, 3), (1, 2, 4, 5), (1, 2, 3, 9)]) == 2
    assert shared_length([(1, 2), (1, 2, 3)]) == 1  # each prompt keeps a token of its own
    assert shared_length([(1, 2, 3)]) == 0


def test_a_rival_that_reads_other_tokens_is_refused() -> None:
    from _work import require_same_tokens

    require_same_tokens("X", ["r"], [(1, 2)], [[1, 2]])
    for theirs in ([1, 1, 2], [1], [1, 3]):  # a token added twice, one lost, one other
        with pytest.raises(RunError, match="X reads row r"):
            require_same_tokens("X", ["r"], [theirs], [[1, 2]])


def test_too_few_rows_are_an_error_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    from _work import Settings, read_work

    monkeypatch.chdir(ROOT)
    settings = Settings("reviews_demo", "en", None, 50, 10, "packaged:smollm2")
    work = read_work(settings)
    assert len({row.id for row in work.rows}) == 50
    assert work.choices() == ["0", "1", "2", "3", "4"]
    loop = read_work(settings, loop=True).rows
    assert len(loop) == 10
    assert loop == read_work(settings, loop=True).rows
    assert {row.id for row in loop} < {row.id for row in work.rows}
    with pytest.raises(UserError, match="--rows 50"):
        read_work(Settings("reviews_demo", "en", None, 51, 10, "packaged:smollm2"))


@pytest.mark.parametrize("kind", ["multiple_choice", "generate_until"])
def test_lm_eval_task_files(tmp_path: Path, kind: str) -> None:
    from _lm_eval import write_task

    prompts = ["<|im_start|>user\nRate: {{ 7*7 }}\n", "第二\u2028行"]
    write_task(tmp_path, kind, ["a", "b"], prompts, [1, 0], ["0", "1"], 8)
    task = yaml.safe_load((tmp_path / "task.yaml").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [row["prompt"] for row in rows] == prompts
    assert [row[task["doc_to_target"]] for row in rows] == ([1, 0] if kind == "multiple_choice" else ["1", "0"])
    assert task["target_delimiter"] == ""
    assert task["doc_to_text"] == "prompt"
    assert Path(task["dataset_kwargs"]["data_files"]["test"]).parent == tmp_path
    if kind == "multiple_choice":
        assert task["doc_to_choice"] == ["0", "1"]
    else:
        assert task["generation_kwargs"]["max_gen_toks"] == 8


def test_selectors() -> None:
    from _parts import PARTS
    from llm import select

    assert select(None, list(PARTS)) == list(PARTS)
    assert select("d.free, a", list(PARTS)) == ["a.loop", "d.causal_lm.free", "d.vllm.free", "d.process.free"]
    assert select("c", list(PARTS)) == ["c.label", "c.text"]  # not c2
    with pytest.raises(UnknownName, match=r"d\.scor"):
        select("d.scor", list(PARTS))


def _measured(part: str, seconds: float | None, labels: dict[str, int | None], **more: Any) -> dict[str, Any]:
    return {"part": part, "repeat": 0, "seconds": seconds, "process_seconds": None, "labels": labels, "flops": 2e9, **more}


def test_table() -> None:
    from _report import gemm_rate, lines, table

    parts = {
        "a.loop": PART(what="loop", kind="text"),
        "b.label": PART(what="rival", kind="label"),
        "d.causal_lm.score": PART(what="ours", kind="label"),
    }
    done = [
        {"part": "f.first", "repeat": 0, "seconds": None, "gflops": {"mlp": 10.0, "attention": 8.0}},
        _measured("a.loop", 4.0, {"x": 1, "y": None}),
        _measured("b.label", 2.0, {"x": 1, "y": 0, "z": 0}, process_seconds=6.0),
        _measured("d.causal_lm.score", 1.0, {"x": 1, "y": 1, "z": 0}),
        {**_measured("d.causal_lm.score", 0.5, {"x": 1, "y": 1, "z": 0}), "repeat": 1},
        {**_measured("d.causal_lm.score", 0.25, {"x": 1, "y": 1, "z": 0}), "repeat": 2},
    ]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(lines(done, parts), gemm_rate(done)).split("\n")
    ]
    assert {len(row) for row in rows} == {9}
    assert [row[2:] for row in rows[2:]] == [
        ["2", "4.0", "0.50", "1.00", "-", "5%", "50.0%"],
        ["3", "2.0", "1.50", "3.00", "1.00", "10%", "66.7%"],
        ["3", "6.0", "0.50", "-", "1.00", "-", "66.7%"],
        ["3", "0.5 (0.2-1.0)", "6.00", "12.00", "4.00", "40%", "100.0%"],
    ]


def test_agreement_leaves_out_what_neither_could_read() -> None:
    from _report import agreement

    ours, theirs = {"x": 1, "y": None, "z": 2, "w": None}, {"x": 1, "y": None, "z": None, "w": 3}
    text = agreement([_measured("d.causal_lm.free", 1, ours), _measured("d.vllm.free", 1, theirs)])
    assert "free: 33.3% of 3 rows; 1 more" in text
    assert agreement([_measured("d.causal_lm.free", 1, ours)]) == ""


def test_a_file_is_gone_on_with_only_for_the_same_run(tmp_path: Path) -> None:
    from llm import is_measured, open_record, save

    fresh: dict[str, Any] = {"settings": {"rows": 3}, "code": "1", "sessions": [], "measurements": []}
    file = tmp_path / "new" / "speed.json"
    assert open_record(file, fresh) is fresh
    failed = {"part": "b.label", "repeat": 0, "error": "exit code 1"}
    save(file, {**fresh, "measurements": [_measured("a.loop", 1.0, {"x": 1}), failed]})
    found = open_record(file, fresh)
    assert is_measured(found, "a.loop", 0)
    assert not is_measured(found, "a.loop", 1)
    assert not is_measured(found, "b.label", 0)  # what failed is tried again
    with pytest.raises(UserError, match="code"):
        open_record(file, {**fresh, "code": "2"})


def test_help_imports_nothing_heavy() -> None:
    script = """
import runpy, sys
sys.argv = ["llm.py", "--help"]
try:
    runpy.run_path("llm.py", run_name="__main__")
except SystemExit:
    print(sorted({"torch", "transformers", "vllm", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False)
    assert "--lm-eval" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_earlier_rule_for_checkpoints_keeps_the_first_of_equal_ones_and_stops() -> None:
    from checkpoints import first_best

    assert first_best([0.2, 0.2, 0.2, 0.9], patience=2) == 0
    assert first_best([0.2, 0.2, 0.3, 0.1], patience=2) == 2
