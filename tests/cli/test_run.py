"""`bench run`: combinations, what is found again, options that do not fit together, Ctrl-C, and a 4-bit Mistral."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.options import RunOptions

JSON_KEYS = {"state", "run", *RunOptions.model_fields, "model_from_cache", "metrics", "gates", "finding", "error"}
QUICK = ("--backend", "majority", "--lang", "en", "--limit", 5)


def folders(project: Path) -> list[str]:
    runs = project / "results" / "runs"
    return sorted(path.name for path in runs.iterdir()) if runs.exists() else []


@pytest.mark.slow
def test_every_combination_is_a_run(bench: Any, project: Path) -> None:
    said = bench(
        "run", "--backend", "majority", "--backend", "tfidf", "--lang", "en,ja", "--seed", "0,1", "--limit", 5, "--json"
    )
    assert said.code == 0
    combinations = {(run["backend"], run["lang"], run["seed"]) for run in said.json}
    assert combinations == {(b, lang, seed) for b in ("majority", "tfidf") for lang in ("en", "ja") for seed in (0, 1)}
    assert sorted(run["run"] for run in said.json) == folders(project)
    assert all(set(run) == JSON_KEYS for run in said.json)
    assert all(run["metrics"]["n"] == 5 for run in said.json)


@pytest.mark.slow
def test_all_languages_of_the_task_without_lang(bench: Any) -> None:
    said = bench("run", "--backend", "majority", "--limit", 2, "--json")
    assert [run["lang"] for run in said.json] == ["en", "de", "es", "fr", "ja", "zh"]


def test_repeats_count_once(bench: Any) -> None:
    said = bench(
        "run", "--backend", "majority,majority", "--lang", "en", "--lang", "en", "--seed", "1,1", "--limit", 2, "--json"
    )
    assert [run["seed"] for run in said.json] == [1]


def test_the_same_command_finds_its_runs(bench: Any) -> None:
    first, second = bench("run", *QUICK, "--json"), bench("run", *QUICK, "--json")
    assert [run["state"] for run in first.json] == ["new"]
    assert [run["state"] for run in second.json] == ["found"]
    assert second.json[0]["metrics"] == first.json[0]["metrics"]
    assert "found" in bench("run", *QUICK).err
    assert bench("run", *QUICK, "--force", "--json").json[0]["state"] == "new"


@pytest.mark.slow
def test_says_that_a_trained_model_was_in_the_cache(
    bench: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    trained = bench("run", "--backend", "tfidf", "--lang", "en", "--limit", 5, "--json")
    again = bench("run", "--backend", "tfidf", "--lang", "en", "--limit", 6, "--json")
    assert (trained.json[0]["model_from_cache"], again.json[0]["model_from_cache"]) == (False, True)
    assert "cache" not in trained.err
    assert "cache" in again.err


def test_a_line_per_run_and_a_summary(bench: Any) -> None:
    said = bench("run", "--backend", "majority,tfidf", "--lang", "en", "--limit", 5)
    lines = [line for line in said.err.splitlines() if line.startswith("[")]
    assert [line[:6] for line in lines] == ["[1/2] ", "[2/2] "]
    header, *rows = [line.split("\t") for line in said.out.splitlines()]
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["backend"] for row in table] == ["majority", "tfidf"]
    assert all(re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", row["accuracy"]) for row in table)
    assert {(row["n"], row["no answer"], row["record"]) for row in table} == {("5", "0", "new")}
    assert "\x1b" not in said.out + said.err
    digits = re.search(r"bench show (\w+)", said.err)
    assert digits is not None
    assert bench("show", digits[1]).code == 0


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_summary_fits_a_terminal_of_80_columns(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    bench("run", *QUICK)
    monkeypatch.setattr(sys, "stdout", terminal)
    bench("run", *QUICK)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in terminal.getvalue().splitlines()]
    assert len(lines) == 2  # no row is folded
    assert max(map(len, lines)) <= 80
    assert "accuracy" in lines[0]
    assert "qwk" not in lines[0]


def test_a_bar_on_a_terminal_and_lines_that_stay(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    bench("run", *QUICK)
    assert "[1/1] reviews_demo.en.majority" in terminal.getvalue()
    assert "predict" in terminal.getvalue()


@pytest.mark.slow
def test_an_error_stands_on_its_own_line_above_the_bar(environment: dict[str, str], project: Path) -> None:
    pty = pytest.importorskip("pty")  # a real terminal: what bypasses the bar does so only there
    (project / "model").mkdir()
    program = "from harness.cli import main; main()"
    arguments = ["run", "--backend", "smollm2", "--lang", "en", "--model", "./model"]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env={**environment, "TERM": "xterm"}, stderr=theirs, timeout=300, check=False)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 2
    assert "smollm2 en prepare" in shown
    assert re.search(r"(\n|\x1b\[2K)bench: The model .* has no config.json.\r\n {7}A checkpoint", shown)


def test_limits_and_splits(bench: Any) -> None:
    said = bench("run", *QUICK[:-2], "--limit", 1000, "--split", "validation", "--train-limit", 10, "--json")
    assert said.json[0]["metrics"]["n"] == 15
    assert said.json[0]["split"] == "validation"


def test_training_on_another_language(bench: Any) -> None:
    said = bench("run", "--backend", "majority", "--lang", "ja", "--train-lang", "en,de", "--limit", 5, "--json")
    assert ".from-en-de." in said.json[0]["run"]


@pytest.mark.parametrize(
    ("options", "noted"),
    [
        (["--prompt", "strict"], "--prompt"),
        (["--decoding", "score"], "--decoding"),
        (["--calibration", "batch"], "--calibration"),
        (["--validation-limit", "5", "--prompt", "strict"], "--prompt"),
        (["--max-cost", "0.5"], "--max-cost"),
        (["--prompt", "strict", "--train-lang", "de"], "--prompt"),
    ],
)
def test_options_that_no_backend_uses_are_noted(bench: Any, options: list[str], noted: str) -> None:
    said = bench("run", *QUICK, *options)
    assert said.code == 0
    assert [line.split()[1] for line in said.err.splitlines() if line.startswith("note:")] == [noted]


@pytest.mark.slow
def test_a_failed_run_does_not_stop_the_next(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.baseline import Baseline

    fit = Baseline.fit

    def failing(self: Baseline, *arguments: Any) -> Any:
        if self.options.classifier == "majority":
            raise RuntimeError("the machine is on fire\nand more")
        return fit(self, *arguments)

    monkeypatch.setattr(Baseline, "fit", failing)
    said = bench("run", "--backend", "majority,tfidf", "--lang", "en", "--limit", 4, "--train-limit", 20, "--json")
    assert said.code == 1
    assert [run["state"] for run in said.json] == ["failed", "new"]
    assert said.json[0]["error"]["exit_code"] == 1
    assert "the machine is on fire" in said.err
    assert "BENCH_DEBUG=1" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_with_a_message_and_the_command_goes_on(
    environment: dict[str, str], bench: Any, project: Path, name: str
) -> None:
    number = getattr(signal, name)
    seeds = ",".join(map(str, range(300)))
    arguments = ["run", "--backend", "majority", "--lang", "en", "--limit", "5", "--seed", seeds]
    running = subprocess.Popen(
        [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("[3/300]"):
            break
    running.send_signal(number)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 128 + number
    assert "Stopped" in err
    assert "Traceback" not in err
    said = bench("run", "--backend", "majority", "--lang", "en", "--limit", 5, "--seed", "0,1,2", "--json")
    assert [run["state"] for run in said.json][:2] == ["found", "found"]
    assert not [name for name in folders(project) if name.endswith(".partial")][1:]


TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{% if turn['role'] == 'user' %}{{ ' [INST] ' + turn['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn['content'] + eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Mistral with a byte-level tokenizer, 4-bit-able: each matrix has whole blocks of 64 weights."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("bitsandbytes")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-mistral")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["0 1 2 3 4"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        sliding_window=None,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries; nobody sees them on the command line either
def test_mistral_in_4_bit_from_a_local_path(bench: Any, mistral: Path, project: Path) -> None:
    common = ["run", "--backend", "mistral", "--lang", "ja", "--model", mistral, "--limit", 3]
    said = bench(*common, "--decoding", "free,score", "--json")
    assert said.code == 0, said.err
    free, score = said.json
    assert (free["decoding"], score["decoding"]) == ("free", "score")
    assert free["metrics"]["n"] == score["metrics"]["n"] == 3
    assert score["metrics"]["ok"] == 3  # a distribution over the labels can't be unreadable
    manifest = json.loads((project / "results" / "runs" / free["run"] / "run.json").read_text(encoding="utf-8"))
    assert manifest["identity"]["backend"]["options"]["quantization"] == "nf4"
    assert manifest["checkpoint"]["stored"] == "float32"
    assert manifest["checkpoint"]["parameters"] > 0
    assert manifest["checkpoint"]["base"] is None
    assert manifest["identity"]["prompt"]["variant"] == "ja"
    assert str(mistral.parent) not in json.dumps(manifest)
    assert bench(*common, "--decoding", "free", "--json").json[0]["state"] == "found"
    table = [line.split("\t") for line in bench(*common, "--decoding", "free,score").out.splitlines()]
    named = f"{manifest['identity']['prompt']['name']}.ja"  # although the command names no prompt
    assert [line[table[0].index("prompt")] for line in table[1:]] == [f"{named} · free", f"{named} · score"]
    assert "model said" in bench("show", free["run"]).out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_calibrations_and_decisions_multiply_the_runs_of_language_models(bench: Any, mistral: Path) -> None:
    said = bench(
        *("run", "--backend", "mistral,majority", "--lang", "en", "--model", mistral, "--limit", 3, "--decoding", "score"),
        *("--calibration", "none,contextual,batch", "--decision", "argmax", "--decision", "expected", "--json"),
    )
    assert said.code == 0, said.err
    asked = [(run["backend"], run["calibration"], run["decision"]) for run in said.json]
    assert asked == [
        *(("mistral", bias, rule) for bias in ("none", "contextual", "batch") for rule in ("argmax", "expected")),
        *(("majority", None, rule) for rule in ("argmax", "expected")),  # which gives probabilities too
    ]
    assert len({run["run"] for run in said.json}) == 8
    assert ".score.contextual.expected.s0." in said.json[3]["run"]
    assert all(run["metrics"]["ok"] == 3 for run in said.json)
    assert ", contextual calibration, expected value" in bench("leaderboard").out + Path("results/LEADERBOARD.md").read_text()


def test_parquet_folder_in_place_of_the_hub(bench: Any, project: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    for lang in ("en", "ja"):
        for split, count in (("train", 10), ("validation", 5), ("test", 5)):
            folder = project / "marc" / lang
            folder.mkdir(parents=True, exist_ok=True)
            rows = {
                "id": [f"{lang}_{split}_{i}" for i in range(count)],
                "text": [f"{lang} {i}" for i in range(count)],
                "label": [i % 5 for i in range(count)],
            }
            parquet.write_table(pyarrow.table(rows), folder / f"{split}.parquet")
    said = bench(
        "run", "--task", "amazon_reviews_multi", "--backend", "majority", "--lang", "en,ja", "--data", "marc", "--json"
    )
    assert said.code == 0, said.err
    assert [run["metrics"]["n"] for run in said.json] == [5, 5]
    assert "ja 4" in bench("show", said.json[1]["run"], "--data", "marc").out


@pytest.mark.slow
def test_a_run_in_shards_is_the_run(bench: Any, project: Path) -> None:
    """Of more rows than a window has: each of the parts has some."""
    rows = [json.dumps({"id": str(n), "text": f"row {n} {'good' if n % 2 else 'bad'}", "label": n % 2}) for n in range(600)]
    (project / "tasks").mkdir()
    (project / "tasks" / "r.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (project / "tasks" / "two.yaml").write_text(
        "description: d\nsource: {files: {train: r.jsonl, validation: r.jsonl, test: r.jsonl}}\ncolumns: {id: id}\n"
        "labels: {kind: nominal, names: [bad, good]}\nlanguages: [en]\n"
    )
    asked = ("run", "--task", "two", "--backend", "tfidf,majority", "--json")
    whole = bench(*asked, "--results", "whole")
    parts = bench(*asked, "--results", "parts", "--shards", 3)
    assert (whole.code, parts.code) == (0, 0), parts.err
    assert [run["run"] for run in parts.json] == [run["run"] for run in whole.json]
    assert [run["state"] for run in parts.json] == ["new", "new"]
    for run in whole.json:
        for file in ("predictions.jsonl", "metrics.json"):
            one, other = (project / results / "runs" / run["run"] / file for results in ("whole", "parts"))
            assert one.read_bytes() == other.read_bytes()
    again = bench(*asked, "--results", "parts", "--shards", 3)
    assert [run["state"] for run in again.json] == ["found", "found"]
    assert bench(*asked, "--shards", 3, "--shard", "1/3").code == 2
