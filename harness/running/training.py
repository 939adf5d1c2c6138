"""Train classifiers. Each is kept in the user's cache under a digest of all that determines it, so it is trained once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.core import library_logging
from harness.core.arrays import FloatArray, IntArray
from harness.core.distributed import Stopped, broadcast, forget_other_launchers, in_step, together
from harness.core.durable import commit, seal
from harness.core.engine import (
    AnsweredChats,
    ChatTrainingJob,
    Classifier,
    LabelledTexts,
    TrainedLanguageModel,
    TrainingJob,
    ValidationScorer,
)
from harness.core.errors import BenchError, RunError
from harness.core.json_files import write_atomically
from harness.core.locks import held
from harness.core.progress_events import OnProgress
from harness.core.record import CACHED_SECONDS, Runtime, Training
from harness.core.types import Decision, Example, LabelKind, LabelSpace, Prediction
from harness.models.cache import ABOUT, LOCK
from harness.running.batching import batches_of
from harness.running.calibration import decide
from harness.running.gates import cut_while_training
from harness.running.plan import Plan, TrainingRows, make_plan
from harness.running.thresholds import DEFAULT, labels_above, tuned_thresholds
from harness.running.trained_models import TRAINING, about, folder_of, has_model, mark_used, origin
from harness.specs.catalog import Catalog
from harness.statistics.checkpoint_choice import COMPANIONS, CheckpointChoice, ranked_probability_score
from harness.statistics.metrics import LOWER_IS_BETTER, evaluate_predictions, headline_of, label_array

OnEvaluation = Callable[[dict[str, float]], None]
"""Called with the validation metrics at each evaluation; what it raises ends the training."""
Trainable = Classifier | TrainedLanguageModel


@dataclass(frozen=True, slots=True)
class Trained:
    """`record`: part of the run's record; `runtime`: the engine's report on a faster form of the model, if there is one."""

    record: Training
    runtime: Runtime | None


def trained_key(plan: Plan) -> str:
    """Two plans with the same key need the same trained model."""
    return plan.identity.trained_key


def trained_folder(plan: Plan) -> Path:
    return folder_of(plan.identity.trained_key)


def ensure_trained(plan: Plan, on_progress: OnProgress, on_evaluation: OnEvaluation | None = None) -> Trained:
    """Make `plan.engine` ready to predict; train it unless an earlier run did. Raises what `on_evaluation` raises."""
    engine = plan.engine
    assert isinstance(engine, Classifier | TrainedLanguageModel)
    assert plan.training is not None
    folder = trained_folder(plan)
    make_cache_folder(folder)
    told = on_evaluation or _untold
    with held(folder / LOCK, wait=True):
        if not has_model(folder):
            write_atomically(folder / ABOUT, about(plan.identity).model_dump_json())
            _train(engine, plan, plan.training, told, folder, on_progress)
        elif isinstance(engine, Classifier):
            engine.load(folder / "model", plan.task.label_space)
            mark_used(folder)
        else:
            engine.load_trained(folder / "model")
            mark_used(folder)
        runtime = None
        if isinstance(engine, Classifier):
            runtime = engine.optimize(folder, _texts(plan.training.validation), validation_scorer(plan, told))
    record = Training.model_validate_json((folder / "model" / TRAINING).read_bytes())
    return Trained(record, None if runtime is None else Runtime.model_validate(runtime))


def make_cache_folder(folder: Path) -> None:
    """Raises `RunError` if it can't be created or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as error:
        hint = "Set BENCH_CACHE to a folder that can be written."
        raise RunError(f"The cache can't be written: {error.filename}: {error.strerror}.", hint) from error


def _untold(metrics: dict[str, float]) -> None:
    """Nobody follows the evaluations."""


def validation_scorer(plan: Plan, on_evaluation: OnEvaluation = _untold) -> ValidationScorer:
    """Scores validation rows as a run on them would be, of a multilabel task with thresholds tuned on them each time: an
    early checkpoint may have no probability above a half, and still know which rows are likelier."""
    assert plan.training is not None
    assert isinstance(plan.engine, Classifier)
    given = plan.engine.threshold()
    rows, task = plan.training.validation, plan.task
    labels = task.label_space

    def metrics(probabilities: FloatArray) -> dict[str, float]:
        thresholds = _label_thresholds(given, labels, rows, probabilities)
        predictions = [_judged(row, p, thresholds) for row, p in zip(rows, probabilities, strict=True)]
        scored = evaluate_predictions(rows, predictions, labels, threshold=task.threshold, extra_metrics=task.metrics)
        found = {name: one.value for name, one in scored.values.items() if one.value is not None}
        ordinal = labels.kind is LabelKind.ORDINAL
        return found | ({"rps": ranked_probability_score(probabilities, truth)} if ordinal else {})

    def answers(probabilities: FloatArray) -> IntArray:
        thresholds = _label_thresholds(given, labels, rows, probabilities)
        return label_array([_judged(row, p, thresholds).label for row, p in zip(rows, probabilities, strict=True)], labels)

    truth = label_array([row.label for row in rows], labels)
    return ValidationScorer(
        metrics,
        headline_of(labels.kind, task.rank_by)[0],
        LOWER_IS_BETTER | COMPANIONS,
        lambda found: together(lambda: on_evaluation(found)),
        CheckpointChoice(labels, truth, answers, _groups(rows)),
    )


def _judged(row: Example, p: Sequence[float], thresholds: list[float] | None) -> Prediction:
    chosen = decide(p, Decision.ARGMAX) if thresholds is None else labels_above(p, thresholds)
    return Prediction(row.id, chosen, probabilities=tuple(map(float, p)))


def _train(
    engine: Trainable, plan: Plan, rows: TrainingRows, on_evaluation: OnEvaluation, folder: Path, on_progress: OnProgress
) -> None:
    started = time.perf_counter()
    forget_other_launchers()
    broadcast(plan.options)  # to the processes that wait in `train_along`
    if plan.options.continue_from:
        mark_used(folder_of(plan.options.continue_from))
    report = _fit(engine, plan, rows, on_evaluation, folder, on_progress)
    spared = report.get(CACHED_SECONDS, 0.0)  # a training must not look cheaper because of the one before it
    assert isinstance(spared, float)
    seconds = round(time.perf_counter() - started + spared, 6)
    about_it: dict[str, object] = {"seconds": seconds, "origin": origin(plan.identity).as_json()}
    if isinstance(engine, Classifier):
        about_it["thresholds"] = _thresholds(engine, plan.task.label_space, rows.validation)
        about_it["cut"] = cut_while_training(engine, [row.text for row in rows.train]).as_json()
    try:
        record = json.dumps({**report, **about_it}, allow_nan=False)
    except ValueError as error:
        shutil.rmtree(folder / "scratch", ignore_errors=True)  # a training from these checkpoints would diverge again
        raise RunError(f"{plan.backend.name}: the training diverged: {report}.", "Lower its learning rate.") from error
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    engine.save(unfinished)
    write_atomically(unfinished / TRAINING, record)
    seal(unfinished)
    commit(unfinished, folder / "model")
    shutil.rmtree(folder / "scratch", ignore_errors=True)


def _fit(
    engine: Trainable, plan: Plan, rows: TrainingRows, on_evaluation: OnEvaluation, folder: Path, on_progress: OnProgress
) -> Mapping[str, object]:
    seed, scratch = plan.options.seed, folder / "scratch"

    def told(done: int, total: int, note: str) -> None:
        on_progress("train", done, total, note)

    with in_step():
        if not isinstance(engine, Classifier):
            train, validation = (_answered(plan, part) for part in (rows.train, rows.validation))
            return engine.fit(
                ChatTrainingJob(train, validation, seed, scratch, told, lambda found: together(lambda: on_evaluation(found)))
            )
        probabilities = None if rows.labelled is None else rows.labelled.probabilities
        train_texts, validation_texts = replace(_texts(rows.train), probabilities=probabilities), _texts(rows.validation)
        scorer = validation_scorer(plan, on_evaluation)
        return engine.fit(TrainingJob(train_texts, validation_texts, plan.task.label_space, scorer, seed, scratch, told))


def _answered(plan: Plan, rows: Sequence[Example]) -> AnsweredChats:
    """The run's prompt for each row, and the answer that its parser reads as the row's label."""
    assert plan.prompt is not None
    answers = [plan.prompt.parser.answer(row.label) for row in rows]
    return AnsweredChats(plan.prompt.chats([row.text for row in rows]), answers)


def train_along(catalog: Catalog) -> None:
    """In every process but the first: take part in its trainings until there are no more."""
    library_logging.hush()  # the options of the command are read by the first process only
    while (request := broadcast(None)) is not None:
        plan = make_plan(request, replace(catalog, trust_metric_code=True))  # else the first process had refused
        assert isinstance(plan.engine, Classifier | TrainedLanguageModel)
        assert plan.training is not None
        try:
            _fit(
                plan.engine,
                plan,
                plan.training,
                _untold,
                trained_folder(plan),
                lambda phase, done, total, note: None,
            )
        except (Stopped, BenchError):  # the first process reports it; errors of this one alone are `OutOfStep`
            pass
        finally:
            plan.engine.close()


def _thresholds(engine: Classifier, labels: LabelSpace, validation: list[Example]) -> list[float] | None:
    """Of a multilabel task: the engine's own, or the best on validation rows."""
    if labels.kind is not LabelKind.MULTILABEL or engine.threshold() is not None or not validation:
        return _label_thresholds(engine.threshold(), labels, [], np.empty((0, len(labels))))
    probabilities = {
        row.id: p
        for batch in batches_of(engine, validation)
        for item, p in zip(batch, engine.predict([item.encoded for item in batch]), strict=True)
        for row in item.rows
    }
    return _label_thresholds(None, labels, validation, np.array([probabilities[row.id] for row in validation]))


def _label_thresholds(
    given: float | None, labels: LabelSpace, rows: Sequence[Example], probabilities: FloatArray
) -> list[float] | None:
    """Tuned on `probabilities`, shape (rows, labels), unless `given`. None: one label per row."""
    if labels.kind is not LabelKind.MULTILABEL:
        return None
    if given is not None or not rows:
        return [DEFAULT if given is None else given] * len(labels)
    truth = np.array([[index in _label_set(row) for index in range(len(labels))] for row in rows], dtype=np.int64)
    return tuned_thresholds(probabilities, truth)


def _label_set(row: Example) -> tuple[int, ...]:
    assert isinstance(row.label, tuple)
    return row.label


def _texts(rows: list[Example]) -> LabelledTexts:
    return LabelledTexts([row.text for row in rows], [row.label for row in rows], groups=_groups(rows))


def _groups(rows: Sequence[Example]) -> list[str] | None:
    """None unless all rows have one."""
    groups = [row.group for row in rows if row.group is not None]
    return groups if rows and len(groups) == len(rows) else None
