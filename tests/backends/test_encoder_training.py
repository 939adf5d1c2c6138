"""What the options of training do: heads, accumulation, checkpoints, SAM, LoRA, precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from encoder_toy import (
    EPOCH_STEPS,
    LABELS,
    NOTHING,
    STARS,
    TOPICS,
    TRAIN,
    VALIDATION,
    Interrupted,
    accuracy_and_error,
    difference,
    fit,
    interrupt_at,
    new_engine,
    predict,
    starred,
    tagged,
    weights_of,
)
from pydantic import ValidationError

import backends
from backends._batches import TrainBatches, padded
from backends._encoder_options import EncoderOptions
from backends.encoder import Encoder
from harness.core.arrays import FloatArray
from harness.core.engine import LabelledTexts, TrainingJob, ValidationScorer
from harness.core.errors import DataError, RunError, UnknownName, UserError
from harness.statistics.checkpoint_choice import CheckpointChoice, ranked_probability_score


def ignore(done: int, total: int, note: str) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize("head", ["softmax", "one_hot", "coral", "corn"])
def test_three_stars_by_every_head(bert: Path, tmp_path: Path, head: str) -> None:
    train, validation = starred(192, 0), starred(48, 1)
    engine = new_engine(bert, {"head": head}, epochs=8, patience=8, class_weights="balanced", label_smoothing=0.05)
    report = fit(engine, tmp_path / "scratch", train, validation, STARS)
    probabilities = predict(engine, validation)
    assert probabilities.shape == (48, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert accuracy_and_error(validation)(probabilities)["accuracy"] == report["best"]["accuracy"] > 0.8
    engine.save(tmp_path)
    other = new_engine(bert, {"head": head})
    other.load(tmp_path, STARS)
    np.testing.assert_array_equal(predict(other, validation), probabilities)
    if head == "coral":
        weight = engine._model.classifier.weight
        assert weight.shape == (2, 32)
        torch.testing.assert_close(weight[0], weight[1])
        assert engine._model.classifier.bias[0] > engine._model.classifier.bias[1]


@pytest.mark.slow
def test_multilabel(bert: Path, tmp_path: Path) -> None:
    train, validation = tagged(128, 0), tagged(32, 1)
    engine = new_engine(bert, {"threshold": 0.4}, epochs=15, patience=15, class_weights="balanced")
    fit(engine, tmp_path, train, validation, TOPICS)
    probabilities = predict(engine, validation)
    wanted = np.array([[k in label for k in range(3)] for label in validation.labels if isinstance(label, tuple)])
    assert ((probabilities >= 0.5) == wanted).mean() > 0.95
    assert probabilities[wanted.sum(1) == 2].sum(1).max() > 1.2
    assert probabilities[:, 2].max() < 0.2


@pytest.mark.slow
def test_with_the_rows_in_its_order_a_training_is_that_of_the_stock_trainer(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head, the loss, the optimizer, its schedule and the evaluations are the same; only our batches differ. Dropout would
    draw other masks for a batch that the stock Trainer pads in another way."""
    bare = without_dropout(bert, tmp_path / "bare")
    options: dict[str, Any] = {"epochs": 3, "lr": 1e-3, "batch_size": 12, "weight_decay": 0.3, "warmup": 0.2}
    stock, evaluations, batches = stock_training(bare, tmp_path / "stock", options)
    monkeypatch.setattr(TrainBatches, "__iter__", lambda self: iter(batches[self.epoch * 6 :][:6]))
    engine = new_engine(bare, best_metric="loss", **options)
    report = fit(engine, tmp_path / "ours")
    assert [len(batch) for batch in batches] == [12, 12, 12, 12, 12, 4] * 3
    for name in ("loss", "accuracy"):
        found = [entry[name] for entry in report["evaluations"]]
        assert found == pytest.approx([entry[f"eval_{name}"] for entry in evaluations], rel=1e-5)
    assert report["best"]["step"] == 18  # so that both keep the last weights
    for name, value in weights_of(engine).items():
        torch.testing.assert_close(value, stock[name], atol=1e-5, rtol=1e-4)


def stock_training(
    model: Path, folder: Path, options: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, float]], list[list[int]]]:
    """The weights, the evaluation of each epoch, and the rows of each batch."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    tokenizer = AutoTokenizer.from_pretrained(model)
    pad = DataCollatorWithPadding(tokenizer)
    batches: list[list[int]] = []

    def encoded(rows: LabelledTexts) -> list[dict[str, Any]]:
        tokens = tokenizer(list(rows.texts))
        labelled = enumerate(rows.labels)
        return [{**{k: tokens[k][i] for k in tokens}, "labels": label, "row": (rows is TRAIN, i)} for i, label in labelled]

    def collate(rows: list[dict[str, Any]]) -> Any:
        if rows[0]["row"][0]:
            batches.append([row["row"][1] for row in rows])
        return pad([{name: value for name, value in row.items() if name != "row"} for row in rows])

    set_seed(1)
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(model, num_labels=2),
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=options["epochs"],
            learning_rate=options["lr"],
            per_device_train_batch_size=options["batch_size"],
            weight_decay=options["weight_decay"],
            warmup_steps=options["warmup"],
            eval_strategy="epoch",
            save_strategy="no",
            remove_unused_columns=False,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=1,
        ),
        train_dataset=encoded(TRAIN),
        eval_dataset=encoded(VALIDATION),
        data_collator=collate,
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )
    trainer.train()
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    return trainer.model.state_dict(), evaluations, batches


@pytest.mark.slow
def test_accumulated_batches_are_one_large_batch(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are of different sizes; the gradients of a step are what counts, so one step is compared."""
    whole = TrainBatches.__iter__

    def in_uneven_parts(self: Any) -> Any:
        rows = [row for batch in whole(self) for row in batch]
        return iter([rows[:5], rows[5:]] if len(self) == 2 else [rows])

    monkeypatch.setattr(TrainBatches, "__iter__", in_uneven_parts)
    bare = without_dropout(bert, tmp_path / "bare")
    train = LabelledTexts(TRAIN.texts[:16], TRAIN.labels[:16])
    once, twice = (new_engine(bare, batch_size=size, accumulation=16 // size, epochs=1, warmup=0) for size in (16, 8))
    reports = [fit(engine, tmp_path / str(n), train, NOTHING) for n, engine in enumerate((once, twice))]
    assert [report["steps"] for report in reports] == [1, 1]
    assert reports[0]["train_loss"] == pytest.approx(reports[1]["train_loss"], rel=1e-5)
    moments = [first_moments(tmp_path / str(n)) for n in range(2)]
    for one, two in zip(*moments, strict=True):
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-4)


def without_dropout(model: Path, folder: Path) -> Path:
    import json
    import shutil

    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    zero = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config | zero), encoding="utf-8")
    return folder


def first_moments(scratch: Path) -> list[Any]:
    """Adam's, after a single step: a tenth of the gradients."""
    state = torch.load(scratch / "checkpoint-1" / "optimizer.pt")["state"]
    return [state[index]["exp_avg"] for index in sorted(state)]


@pytest.mark.slow
@pytest.mark.parametrize("adaptive", [False, True])
def test_a_step_of_sam_is_its_formula(bert: Path, tmp_path: Path, adaptive: bool) -> None:
    """Two batches are accumulated: each is perturbed by its own gradient."""
    from transformers import set_seed

    bare = without_dropout(bert, tmp_path / "bare")
    train = LabelledTexts(TRAIN.texts[:16], TRAIN.labels[:16])
    kind = "asam" if adaptive else "sam"
    options: dict[str, Any] = {"optimizer": kind, "rho": 0.1, "batch_size": 8, "accumulation": 2, "epochs": 1, "warmup": 0}
    engine = new_engine(bare, **options)
    fit(engine, tmp_path / "sam", train, NOTHING)

    set_seed(1)
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(bare, num_labels=2)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    encoded = engine.encode(train.texts)
    totals = [torch.zeros_like(value) for value in start]
    for batch in TrainBatches([row.tokens for row in encoded], 8, 1, 0, 1):

        def gradient(rows: list[int] = batch) -> list[Any]:
            inputs = padded([encoded[row].content[0] for row in rows], engine._tokenizer)
            logits = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits
            labels = torch.tensor([train.labels[row] for row in rows])
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / 16
            return list(torch.autograd.grad(loss, list(model.parameters())))

        g = gradient()
        t = [w.abs() + 0.01 if adaptive else torch.ones_like(w) for w in start]
        norm = torch.cat([(a * b).flatten() for a, b in zip(t, g, strict=True)]).norm()
        with torch.no_grad():
            for parameter, w, a, b in zip(model.parameters(), start, t, g, strict=True):
                parameter.copy_(w + 0.1 * a**2 * b / norm)
        for total, value in zip(totals, gradient(), strict=True):
            total += value
        with torch.no_grad():
            for parameter, w in zip(model.parameters(), start, strict=True):
                parameter.copy_(w)
    clip = min(1.0, 1 / float(torch.cat([total.flatten() for total in totals]).norm()))
    expected = sorted((0.1 * clip * total for total in totals), key=lambda value: (value.shape, float(value.abs().sum())))
    found = sorted(first_moments(tmp_path / "sam"), key=lambda value: (value.shape, float(value.abs().sum())))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


@pytest.mark.slow
def test_both_passes_of_sam_draw_the_same_dropout(bert: Path, tmp_path: Path) -> None:
    """With a radius near zero they are then the same pass, and all is as with AdamW."""
    none, tiny = new_engine(bert, epochs=1, lr=1e-3), new_engine(bert, epochs=1, lr=1e-3, optimizer="sam", rho=1e-9)
    losses = [fit(engine, tmp_path / str(n))["train_loss"] for n, engine in enumerate((none, tiny))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert difference(none, tiny) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sam", "asam"])
def test_sam_learns(bert: Path, tmp_path: Path, optimizer: str) -> None:
    engine = new_engine(bert, epochs=8, patience=8, optimizer=optimizer, rho=0.02)
    assert fit(engine, tmp_path)["best"]["accuracy"] > 0.9


@pytest.mark.slow
def test_evaluations_every_few_steps_and_at_the_end(bert: Path, tmp_path: Path) -> None:
    report = fit(new_engine(bert, epochs=2, evaluate_every=5, patience=9), tmp_path)
    assert [entry["step"] for entry in report["evaluations"]] == [5, 10, 15, 16]
    assert report["best"]["step"] in (5, 10, 15, 16)


@pytest.mark.slow
@pytest.mark.parametrize("validation", [VALIDATION, NOTHING], ids=["validated", "unvalidated"])
@pytest.mark.parametrize("train", [{}, {"lora": {}}, {"optimizer": "sam", "accumulation": 2}], ids=["full", "lora", "sam"])
def test_a_kill_in_the_midst_of_an_epoch(bert: Path, tmp_path: Path, validation: LabelledTexts, train: dict[str, Any]) -> None:
    def engine() -> Encoder:
        return new_engine(bert, epochs=3, evaluate_every=3, patience=99, **train)

    whole, resumed, again = engine(), engine(), engine()
    expected = fit(whole, tmp_path / "whole", validation=validation)
    with pytest.raises(Interrupted):
        fit(engine(), tmp_path / "cut", validation=validation, on_progress=interrupt_at(11))
    steps: list[int] = []
    report = fit(resumed, tmp_path / "cut", validation=validation, on_progress=lambda done, total, note: steps.append(done))
    assert steps[0] == 9
    assert report == expected
    assert difference(resumed, whole) == 0
    # Killed once more: after the end, before the model was kept.
    assert fit(again, tmp_path / "cut", validation=validation, on_progress=interrupt_at(steps[-1])) == expected
    assert difference(again, whole) == 0


@pytest.mark.slow
def test_of_checkpoints_that_tie_the_one_with_the_lower_companion_is_kept(bert: Path, tmp_path: Path) -> None:
    """The accuracy of a constant ties; a kill in between changes nothing of what is known of the evaluations."""

    def fitted(name: str, on_progress: Callable[[int, int, str], None] = ignore) -> dict[str, Any]:
        truth = np.array(VALIDATION.labels)
        choice = CheckpointChoice(LABELS, truth, lambda p: np.zeros(len(p), dtype=np.int64))

        def metrics(p: FloatArray) -> dict[str, float]:
            return {"accuracy": 0.5, "rps": ranked_probability_score(p, truth)}

        scorer = ValidationScorer(metrics, "accuracy", frozenset({"rps"}), choose=choice)
        engine = new_engine(bert, epochs=6, patience=2)
        return engine.fit(TrainingJob(TRAIN, VALIDATION, LABELS, scorer, 1, tmp_path / name, on_progress))

    report = fitted("whole")
    evaluations = report["evaluations"]
    lowest = [entry["rps"] for entry in evaluations]
    assert report["best"] == {"accuracy": 0.5, "step": evaluations[int(np.argmin(lowest))]["step"]}
    assert report["best"]["step"] > EPOCH_STEPS
    with pytest.raises(Interrupted):
        fitted("cut", interrupt_at(3 * EPOCH_STEPS + 2))
    assert fitted("cut") == report


@pytest.mark.slow
def test_few_rows_get_as_many_epochs_as_steps_are_asked_for(bert: Path, tmp_path: Path) -> None:
    report = fit(new_engine(bert, epochs=1, min_steps=EPOCH_STEPS + 1, patience=9), tmp_path)
    assert report["planned_steps"] == 2 * EPOCH_STEPS


def job(metrics: Callable[[FloatArray], dict[str, float]], scratch: Path) -> TrainingJob:
    scorer = ValidationScorer(metrics, "accuracy", frozenset())
    return TrainingJob(TRAIN, VALIDATION, LABELS, scorer, 1, scratch, ignore)


@pytest.mark.slow
def test_the_scorer_gets_the_rows_in_their_order(bert: Path, tmp_path: Path) -> None:
    seen: list[FloatArray] = []

    def metrics(probabilities: FloatArray) -> dict[str, float]:
        seen.append(probabilities)
        return accuracy_and_error(VALIDATION)(probabilities)

    engine = new_engine(bert, {"predict": {"batch_size": 3}}, epochs=1)
    engine.fit(job(metrics, tmp_path))
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0], predict(engine, VALIDATION), atol=1e-6)


class GivenUp(Exception):
    pass


@pytest.mark.slow
def test_what_the_scorer_raises_comes_out(bert: Path, tmp_path: Path) -> None:
    error = GivenUp("no hope")

    def metrics(probabilities: FloatArray) -> dict[str, float]:
        raise error

    with pytest.raises(GivenUp) as caught:
        new_engine(bert).fit(job(metrics, tmp_path))
    assert caught.value is error


def test_an_unknown_metric_is_found_before_training(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="accuracy") as caught:
        fit(new_engine(bert, best_metric="acuracy"), tmp_path, on_progress=interrupt_at(1))
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_a_training_that_diverged_says_so(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="diverged"):
        fit(new_engine(bert, lr=1e30), tmp_path)


def test_fewer_rows_than_processes(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 training rows"):
        fit(new_engine(bert), tmp_path, NOTHING, NOTHING)


@pytest.mark.slow
def test_lora_trains_few_weights_and_keeps_them_alone(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, epochs=12, patience=12, lr=3e-2, lora={"rank": 4, "alpha": 16, "dropout": 0.0})
    report = fit(engine, tmp_path / "scratch")
    square, oblong, head = 4 * (32 + 32), 4 * (32 + 48), 32 * 2 + 2
    # query, key, value, attention output, pooler; two of the feed-forward
    assert report["trainable_parameters"] == 5 * square + 2 * oblong + head
    assert report["best"]["accuracy"] > 0.7
    assert type(engine._model).__name__ == "BertForSequenceClassification"  # merged
    for folder in (tmp_path / "kept", tmp_path / "again"):
        folder.mkdir()
        engine.save(folder)
        assert sorted(file.name for file in folder.glob("*.safetensors")) == ["adapter_model.safetensors"]
        assert (folder / "adapter_model.safetensors").stat().st_size < 4 * report["trainable_parameters"] + 10_000
        loaded = new_engine(bert, lora={"rank": 4})
        loaded.load(folder, LABELS)
        np.testing.assert_array_equal(predict(loaded, VALIDATION), predict(engine, VALIDATION))
        assert loaded.parameters == engine.parameters
        engine = loaded  # what was loaded can be kept too


@pytest.mark.slow
def test_a_merged_model_of_an_earlier_version_is_read(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, epochs=1, lora={"rank": 4})
    fit(engine, tmp_path / "scratch")
    engine._model.save_pretrained(tmp_path / "model")
    engine._tokenizer.save_pretrained(tmp_path / "model")
    other = new_engine(bert, epochs=1, lora={"rank": 4})
    other.load(tmp_path / "model", LABELS)
    np.testing.assert_array_equal(predict(other, VALIDATION), predict(engine, VALIDATION))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
def test_it_goes_on_from_adapters(bert: Path, tmp_path: Path, lora: dict[str, int] | None) -> None:
    first = new_engine(bert, epochs=8, patience=8, lr=3e-2, lora={"rank": 4})
    fit(first, tmp_path / "first")
    (tmp_path / "model").mkdir()
    first.save(tmp_path / "model")
    second = new_engine(tmp_path / "model", epochs=0.1, lr=1e-9, lora=lora)
    fit(second, tmp_path / "second")
    np.testing.assert_allclose(predict(second, VALIDATION), predict(first, VALIDATION), atol=1e-4)
    (tmp_path / "kept").mkdir()
    second.save(tmp_path / "kept")
    third = new_engine(tmp_path / "model", lora=lora)
    third.load(tmp_path / "kept", LABELS)
    np.testing.assert_array_equal(predict(third, VALIDATION), predict(second, VALIDATION))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"dropout": 0.0}], ids=["full", "lora"])
def test_gradient_checkpointing_changes_nothing(bert: Path, tmp_path: Path, lora: dict[str, float] | None) -> None:
    plain, frugal = (new_engine(bert, epochs=1, lora=lora, gradient_checkpointing=flag) for flag in (False, True))
    for name, engine in (("plain", plain), ("frugal", frugal)):
        fit(engine, tmp_path / name)
    assert difference(plain, frugal) < 1e-6


@pytest.mark.slow
def test_bf16_on_a_cpu(bert: Path, tmp_path: Path) -> None:
    engine = new_engine(bert, {"predict": {"dtype": "bfloat16"}}, epochs=2, precision="bf16")
    fit(engine, tmp_path / "scratch")
    assert {value.dtype for value in weights_of(engine).values() if value.is_floating_point()} == {torch.bfloat16}
    before = predict(engine, VALIDATION)
    engine.save(tmp_path)
    exact = new_engine(bert)
    exact.load(tmp_path, LABELS)
    half = new_engine(bert, {"predict": {"dtype": "bfloat16"}})
    half.load(tmp_path, LABELS)
    np.testing.assert_array_equal(predict(half, VALIDATION), before)  # as if it had been loaded
    assert 0 < np.abs(predict(exact, VALIDATION) - before).max() < 0.05  # and nothing was lost to the dtype
    mixed = new_engine(bert, epochs=2, precision="bf16")
    fit(mixed, tmp_path / "mixed")
    trained = predict(mixed, VALIDATION)  # in fp32, without the autocast of the training
    mixed.save(tmp_path)
    exact.load(tmp_path, LABELS)
    np.testing.assert_array_equal(predict(exact, VALIDATION), trained)
    assert any((value.bfloat16().float() != value).any() for value in weights_of(exact).values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": {"precision": "fp16"}}, "fp16 needs a GPU"),
        ({"predict": {"attention": "flash_attention_2"}}, "needs a GPU"),
    ],
)
def test_what_a_cpu_can_not_do(bert: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Encoder(EncoderOptions.model_validate({"device": "cpu", **options}), bert)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": {"rho": 0.1}}, "rho"),
        ({"train": {"learning_rate": 1e-5}}, "learning_rate"),
        ({"predict": {"runtime": "onnx", "dtype": "bfloat16"}}, "precision"),
        ({"train": {"lora": {"rank": 0}}}, "rank"),
        ({"train": {"label_smoothing": 1.0}}, "label_smoothing"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EncoderOptions.model_validate(options)


def test_radii() -> None:
    options = [EncoderOptions.model_validate({"train": {"optimizer": name}}) for name in ("adamw", "sam", "asam")]
    radii = {option.train.optimizer: option.train.radius() for option in options}
    assert radii == {"adamw": None, "sam": 0.05, "asam": 0.5}


@pytest.mark.slow
def test_it_goes_on_from_a_tuned_model(bert: Path, tmp_path: Path) -> None:
    first = new_engine(bert, epochs=8, patience=8)
    fit(first, tmp_path / "first")
    first.save(tmp_path / "model")
    # One step at a rate of nearly nothing: what it knew is there, head and all.
    second = new_engine(tmp_path / "model", epochs=0.1, lr=1e-9)
    fit(second, tmp_path / "second")
    np.testing.assert_allclose(predict(second, VALIDATION), predict(first, VALIDATION), atol=1e-4)
    third = new_engine(tmp_path / "model", epochs=0.1)
    fit(third, tmp_path / "third", starred(32, 0), NOTHING, STARS)
    assert predict(third, VALIDATION).shape == (16, 3)


@pytest.mark.slow
def test_a_checkpoint_that_is_no_encoder(bert: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(bert, tmp_path / "unpadded")
    settings = tmp_path / "unpadded" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "pad_token": None}))
    with pytest.raises(UserError, match=r"unpadded.*no pad_token"):
        fit(new_engine(tmp_path / "unpadded"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty.*config\.json"):
        fit(new_engine(tmp_path / "empty"), tmp_path / "scratch")
    shutil.copytree(bert, tmp_path / "strange")
    config = tmp_path / "strange" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "vits"}))
    with pytest.raises(UserError, match=r"strange.*classifier"):
        fit(new_engine(tmp_path / "strange"), tmp_path / "scratch")


@pytest.mark.slow
def test_schedules_and_warm_up(bert: Path, tmp_path: Path) -> None:
    rates: dict[str, list[float]] = {}
    for schedule in ("linear", "cosine", "constant"):
        fit(new_engine(bert, epochs=2, schedule=schedule, warmup=4, lr=1e-3), tmp_path / schedule, validation=NOTHING)
        rates[schedule] = [rate_at(tmp_path / schedule, step) for step in (EPOCH_STEPS, 2 * EPOCH_STEPS)]
    # After the warm-up of 4 steps, 12 steps of decay.
    np.testing.assert_allclose(rates["linear"], [1e-3 * 8 / 12, 0], atol=1e-12)
    np.testing.assert_allclose(rates["cosine"], [1e-3 * (1 + np.cos(np.pi * 4 / 12)) / 2, 0], atol=1e-12)
    np.testing.assert_allclose(rates["constant"], [1e-3, 1e-3])


def rate_at(scratch: Path, step: int) -> float:
    return float(torch.load(scratch / f"checkpoint-{step}" / "scheduler.pt")["_last_lr"][0])


@pytest.mark.slow
@pytest.mark.parametrize("main", ["accuracy", "mae"])
def test_another_runtime_takes_over(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str) -> None:
    """`_onnx.prepare` gets the model, and a score of sessions in which higher is better."""
    engine = new_engine(bert, {"predict": {"runtime": "onnx-int8", "max_drop": 0.25, "batch_size": 5}}, epochs=3)
    fit(engine, tmp_path)
    before = predict(engine, VALIDATION)
    asked: dict[str, Any] = {}

    def prepare(model: Any, folder: Path, *, int8: bool, accuracy: Any, max_drop: float, device: str) -> Any:
        def session(batch: dict[str, Any]) -> Any:
            assert all(values.dtype == np.int64 for values in batch.values())
            with torch.no_grad():
                return model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()

        asked.update(folder=folder, int8=int8, max_drop=max_drop, accuracy=accuracy(session), device=device)
        return session, {"runtime": "another"}

    monkeypatch.setattr(backends, "_onnx", SimpleNamespace(prepare=prepare), raising=False)
    metrics = accuracy_and_error(VALIDATION)
    scorer = ValidationScorer(metrics, main, frozenset({"mae"}))
    assert engine.optimize(tmp_path, VALIDATION, scorer) == {"runtime": "another"}
    worth = metrics(before)[main]
    higher = -worth if main == "mae" else worth
    assert asked == {"folder": tmp_path, "int8": True, "max_drop": 0.25, "accuracy": higher, "device": "cpu"}
    np.testing.assert_allclose(predict(engine, VALIDATION), before, atol=1e-6)
    with pytest.raises(UserError, match="validation rows"):
        engine.optimize(tmp_path, NOTHING, scorer)
    assert new_engine(bert).optimize(tmp_path, VALIDATION, scorer) is None


def test_a_training_reports_nowhere_whatever_the_environment_asks_for(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubeflow's variable adds its callback even to `report_to="none"`; the others wait for a library and a login."""
    from transformers.trainer_callback import DefaultFlowCallback

    from backends import _trainer

    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", "http://localhost:9")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    args = _trainer.course_arguments(EncoderOptions().train, 3, tmp_path, 0, "cpu", "fp32", None, lower=False)
    assert args.report_to == []
    seen: list[Any] = []
    monkeypatch.setattr(_trainer.EncoderTrainer, "run", lambda self: seen.append(self) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(new_engine(bert), tmp_path / "scratch", TRAIN, VALIDATION)
    assert {type(callback) for callback in seen[0].callback_handler.callbacks} == {
        DefaultFlowCallback,
        _trainer.Patience,
        _trainer.EncoderProgress,
    }


@pytest.mark.slow
def test_the_course_of_a_training_is_told_and_its_progress_names_loss_and_metric(bert: Path, tmp_path: Path) -> None:
    from harness.running.tracking import Tracker, tracked_by

    heard: list[tuple[int, dict[str, float]]] = []
    notes: list[tuple[int, int, str]] = []

    class Sink:
        def log(self, step: int, values: dict[str, float]) -> None:
            heard.append((step, values))

    tracker = Tracker(Sink())  # type: ignore[arg-type]
    engine = new_engine(bert, epochs=2)
    scorer = ValidationScorer(accuracy_and_error(VALIDATION), "accuracy", frozenset({"mae"}))
    with tracked_by(tracker):
        engine.fit(TrainingJob(TRAIN, VALIDATION, LABELS, scorer, 0, tmp_path, lambda *words: notes.append(words)))
    assert tracker.close() is None
    steps = [step for step, values in heard if "train/loss" in values]
    assert steps[-1] == 2 * EPOCH_STEPS
    assert [step for step, values in heard if "eval/accuracy" in values] == [EPOCH_STEPS, 2 * EPOCH_STEPS]
    assert notes[0] == (0, 2 * EPOCH_STEPS, "")
    assert any(note.startswith("validating, batch 0 of ") for _, _, note in notes)
    assert notes[-1][2].startswith("loss ")
    assert notes[-1][2].endswith(f" at step {2 * EPOCH_STEPS}")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["softmax", "one_hot"])
def test_a_step_on_certain_soft_labels_is_one_on_labels(bert: Path, tmp_path: Path, head: str) -> None:
    bare = without_dropout(bert, tmp_path / "bare")
    labels = np.array(TRAIN.labels[:16], dtype=int)
    train = LabelledTexts(TRAIN.texts[:16], TRAIN.labels[:16])
    certain = LabelledTexts(train.texts, train.labels, np.eye(2)[labels])
    opposite = LabelledTexts(train.texts, train.labels, np.eye(2)[1 - labels])
    moments = []
    for name, rows in (("hard", train), ("soft", certain), ("opposite", opposite)):
        engine = new_engine(bare, {"head": head}, batch_size=16, epochs=1, warmup=0)
        fit(engine, tmp_path / name, rows, NOTHING)
        moments.append(first_moments(tmp_path / name))
    for one, two in zip(*moments[:2], strict=True):
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-4)
    assert max(float((one - other).abs().max()) for one, other in zip(moments[0], moments[2], strict=True)) > 1e-4


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, ""),
        ({"head": "one_hot"}, ""),
        ({"head": "coral"}, "head coral"),
        ({"train": {"class_weights": "balanced"}}, "class_weights"),
    ],
)
def test_which_encoders_take_soft_labels(options: dict[str, Any], problem: str) -> None:
    found = Encoder.soft_labels_problem(EncoderOptions.model_validate(options))
    assert problem in found
    assert bool(found) == bool(problem)
