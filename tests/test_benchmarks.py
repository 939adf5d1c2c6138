"""The pure parts of `benchmarks/`: what is counted, what is chosen, what is written. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
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

    shape = Shape(weights=100, layers=2, hidden=3, width=4, vocabulary=7)
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


def _settings(**changed: Any) -> Any:
    from _llm_record import Settings

    asked = {"task": "reviews_demo", "lang": "en", "rows": 50, "loop_rows": 10, "lm_eval_rows": 20, "model": "packaged:smollm2"}
    return Settings.model_validate({**asked, **changed})


def test_too_few_rows_are_an_error_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    from _work import read_work

    monkeypatch.chdir(ROOT)
    settings = _settings()
    work = read_work(settings)
    ids = {row.id for row in work.rows}
    assert len(ids) == 50
    assert work.choices() == ["0", "1", "2", "3", "4"]
    for name, count in (("loop", 10), ("lm_eval", 20)):
        fewer = read_work(settings, name).rows
        assert len(fewer) == count
        assert fewer == read_work(settings, name).rows
        assert {row.id for row in fewer} < ids
    assert read_work(_settings(lm_eval_rows=50), "lm_eval").rows == work.rows
    with pytest.raises(UserError, match="--rows 50"):
        read_work(_settings(rows=51))


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
    assert select("d.free, a", list(PARTS)) == ["a.loop", "d.causal_lm.free", "d.process.free", "d.vllm.free"]
    assert select("c", list(PARTS)) == ["c.label", "c.text"]  # not c2
    with pytest.raises(UnknownName, match=r"d\.scor"):
        select("d.scor", list(PARTS))


PARTS = {
    "a.loop": PART(what="loop", kind="text"),
    "b.label": PART(what="rival", kind="label"),
    "d.causal_lm.score": PART(what="ours", kind="label"),
    "d.process.score": PART(what="command", kind="label"),
}


def _measured(part: str, seconds: float | None, labels: str = "", **more: Any) -> dict[str, Any]:
    fixed = {"dtype": "float32", "repeat": 0, "finished": "2026-01-01", "flops": 2e9}
    return {**fixed, "part": part, "seconds": seconds, "labels": labels, **more}


def _record(*measured: dict[str, Any], **changed: Any) -> Any:
    from _llm_record import Record

    setup = {"machine": {"cpu": "a CPU", "cores": 2}, "versions": {"torch": "2.0"}}
    fixed = {"setup": setup, "settings": _settings(), "prompt": "strict", "fingerprint": "f", "distinct": 50, "code": "1"}
    return Record.model_validate({**fixed, **changed, "measurements": list(measured)})


def _cells(table: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")]
    assert len({len(row) for row in rows}) == 1
    return rows[2:]


def test_ratios_are_paired_by_repeat_and_refer_to_the_rivals_best_dtype() -> None:
    from _report import best_dtype, direct_table, labels_table

    machine = {"labels": "", "flops": 0.0}
    record = _record(
        _measured("f.first", None, **machine, gflops={"layer": 10.0}),
        _measured("f.last", None, **machine, gflops={"layer": 30.0}),
        _measured("f.first", None, **machine, gflops={"layer": 5.0}, repeat=1),
        _measured("a.loop", 4.0, "1-.."),
        _measured("a.loop", 2.0, "1-..", repeat=1),
        _measured("a.loop", 1.0, "1-..", dtype="bfloat16"),  # faster: what the others are compared with
        _measured("a.loop", 2.0, "1-..", dtype="bfloat16", repeat=1),
        _measured("d.causal_lm.score", 1.0, "1100"),
        _measured("d.causal_lm.score", 0.5, "1100", repeat=1),
        _measured("d.causal_lm.score", 0.1, "1100", repeat=2),  # no rival in this repeat
    )
    assert best_dtype(record, "a.loop") == "bfloat16"
    assert _cells(labels_table(record, PARTS)) == [
        ["loop", "fp32", "0.75 (0.50-1.00)", "0.62 (0.25-1.00)", "-", "11% (2%-20%)", "50.0%"],
        ["loop", "bf16", "1.50 (1.00-2.00)", "1.00 (1.00-1.00)", "-", "-", "-"],
        # 4 rows/s over 2, and 8 over 1; 2 GFLOP in 1 s of 20 GFLOP/s, and in 0.5 s of 5.
        ["ours", "fp32", "8.00 (4.00-40.00)", "5.00 (2.00-8.00)", "-", "45% (10%-80%)", "100.0%"],
    ]
    assert [row[2] for row in _cells(direct_table(record))] == ["5.00 (2.00-8.00)x", "45% (10%-80%)"]


def test_a_whole_command_is_shown_with_its_own_parts() -> None:
    from _report import process_table

    own = {"process_seconds": 10.0, "load_seconds": 2.0, "predict_seconds": 5.0, "flops": 0.0}
    assert _cells(process_table(_record(_measured("d.process.score", None, "1100", **own)), PARTS)) == [
        ["command", "fp32", "4", "10.0", "2.00", "5.00", "0.40"]
    ]


def test_a_run_whose_parts_are_longer_than_the_whole_is_refused() -> None:
    from _parts import _check_clock

    from harness.core.record import Timing

    _check_clock(8.0, Timing(seconds=5.0, load_seconds=2.0))
    with pytest.raises(RunError):
        _check_clock(6.9, Timing(seconds=5.0, load_seconds=2.0))


def test_labels_are_kept_in_the_order_of_the_rows() -> None:
    from _llm_record import coded, same_label

    assert coded({"c": 11, "a": None}, ["a", "b", "c"]) == "-.b"
    assert same_label("12-.", "11-1") == 1 / 3  # no label is no same label, and a row that was not asked does not count
    assert same_label("..", "12") is None


def test_agreement_leaves_out_what_neither_could_read() -> None:
    from _report import agreement_table

    record = _record(
        _measured("d.causal_lm.free", 1, "1-2-"),
        _measured("d.vllm.free", 1, "1--3"),
        _measured("d.causal_lm.free", 1, "1-22", dtype="bfloat16"),
    )
    assert _cells(agreement_table(record)) == [
        ["free", "causal_lm and vllm, fp32", "33.3%", "3", "1"],
        ["free", "causal_lm in both dtypes", "66.7%", "3", "1"],
    ]
    assert agreement_table(_record(_measured("d.causal_lm.free", 1, "1-2-"))) == ""


def test_the_page_says_batch_sizes_and_what_failed() -> None:
    from _report import page

    settings = {"batch_size": 32, "version": "1", "tried": {"16": 1.5, "32": 2.0}}
    failed = {**_measured("d.process.score", None), "error": "exit code 9"}
    text = page(_record(_measured("b.label", 1.0, "1100", settings=settings), failed), PARTS)
    assert "batch size 32 (rows/s in a trial: 16: 1.50, 32: 2.00)" in text
    assert "exit code 9" in text


def test_a_file_is_gone_on_with_only_for_the_same_run(tmp_path: Path) -> None:
    from llm import is_measured, open_record, save

    fresh = _record(settings=_settings(data="/home/somebody/data"))
    file = tmp_path / "new" / "speed.json"
    assert open_record(file, fresh) is fresh
    failed = {**_measured("b.label", None), "error": "exit code 1"}
    save(file, _record(_measured("a.loop", 1.0, "1-"), failed, settings=fresh.settings))
    assert "somebody" not in file.read_text(encoding="utf-8")
    found = open_record(file, fresh)
    assert is_measured(found, "a.loop", "float32", 0)
    assert not is_measured(found, "a.loop", "bfloat16", 0)
    assert not is_measured(found, "a.loop", "float32", 1)
    assert not is_measured(found, "b.label", "float32", 0)  # what failed is tried again
    for changed in ({"code": "2"}, {"settings": _settings(rows=3, loop_rows=3, lm_eval_rows=3)}):
        with pytest.raises(UserError, match=next(iter(changed))):
            open_record(file, fresh.model_copy(update=changed))
    file.write_text("{}")
    with pytest.raises(UserError, match="no record"):
        open_record(file, fresh)


def test_all_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    everything = import_module("all")
    script = tmp_path / "script.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "assert sys.argv[1] == 'x', sys.argv\n"
        "file = pathlib.Path(sys.argv[-1])\n"
        "content = json.loads(file.read_text()) if file.exists() else {'calls': 0}\n"
        "file.write_text(json.dumps({'calls': content['calls'] + 1}))\n"
        "sys.exit(not pathlib.Path('go').exists())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(everything, "HERE", tmp_path)
    steps = tuple(everything.Step(name, f"{name}.json", "script.py x", 1, resumes=name == "on") for name in ("on", "whole"))
    monkeypatch.setattr(everything, "STEPS", steps)

    def found() -> dict[str, int]:
        return {path.name: json.loads(path.read_text())["calls"] for path in (tmp_path / "results").iterdir()}

    assert everything.main(["--results", "results"]) == 1
    assert found() == {"on.json": 1, "whole.json.partial": 1}
    (tmp_path / "go").touch()
    assert everything.main(["--results", "results"]) == 0
    assert everything.main(["--results", "results"]) == 0  # `on` looks for itself, `whole` is there
    assert found() == {"on.json": 3, "whole.json": 2}
    whole = json.loads((tmp_path / "results" / "whole.json").read_text())
    assert {"date", "machine", "versions"} < whole.keys()


def test_all_asks_for_the_folders_of_its_steps(capsys: Any) -> None:
    everything = import_module("all")
    assert everything.main(["--only", "precision", "--data", "sst5=x"]) == 2
    assert "--data amazon_reviews_multi=DIR --data app_reviews=DIR" in capsys.readouterr().err
    assert everything.main(["--only", "llm", "--data", "amazon_reviews_multi=x"]) == 2
    assert "--lm-eval" in capsys.readouterr().err
    assert everything.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"benchmarks/results/{step.file}" in listed and step.name in listed for step in everything.STEPS)


STEPS = (
    *("llm", "long_prompts", "encoder", "startup", "million", "million_tfidf", "many_runs", "llm_rest", "vllm"),
    *("training_sst5", "training_banking77", "precision", "ray_overhead", "scale"),
)


def test_all_steps_are_tested() -> None:
    assert tuple(step.name for step in import_module("all").STEPS) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_the_options_of_a_step_are_those_of_its_script(step: str) -> None:
    (chosen,) = [other for other in import_module("all").STEPS if other.name == step]
    words = chosen.command(dict.fromkeys(chosen.tasks, "x"), "python", Path("results"))[1:]
    module = import_module(Path(words[0]).stem)
    options = module._parser().parse_args(words[1:])
    assert options.json is not None
    if "only" in vars(options) and module.__name__ == "llm":
        module.select(options.only, list(import_module("_parts").PARTS))


def test_a_table_of_long_prompts_compares_the_same_repeat() -> None:
    from long_prompts import Record, table

    cpu = {"shared_beginning": 0.5, "attention_to_it": 1.0, "rest": 2.0}
    passed = {
        "model": "packaged:m",
        "dtype": "bfloat16",
        "instruction": 100,
        "shared_tokens": 98,
        "own_tokens": 4,
        "batches": 1,
    }
    passes = [
        {**passed, "method": method, "repeat": repeat, "rows": rows, "seconds": seconds, "labels": labels, "cpu": cpu}
        for method, repeat, rows, seconds, labels in (
            ("before", 0, 2, 4.0, "12"),
            ("before", 1, 2, 1.0, "12"),
            ("now", 0, 2, 1.0, "13"),
            ("now", 1, 2, 2.0, "13"),
            ("now, all rows", 0, 4, 1.0, "1345"),
        )
    ]
    setup = {"machine": {"cpu": "a CPU"}, "versions": {}}
    record = Record.model_validate({"setup": setup, "task": "t", "lang": "en", "rows": 4, "before_rows": 2, "passes": passes})
    (cells,) = _cells(table(record))
    assert cells[:7] == ["m", "bf16", "98", "1.25 (0.50-2.00)", "1.50 (1.00-2.00)", "2.25 (0.50-4.00)", "50%"]
    assert cells[7:] == ["4.00", "0.50", "0.250", "0.500"]


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
