"""From `RunOptions` to all that determines the outcome: rows, checkpoint, prompt, and the run's identity."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.core.distributed import processes
from harness.core.engine import Classifier, Engine, LanguageModel, Messages, TrainedLanguageModel, ZeroShot
from harness.core.errors import OtherInputs, UserError
from harness.core.json_files import digest
from harness.core.options import UNLABELLED, RunOptions
from harness.core.record import (
    RESULT_VERSION,
    TRAINING_VERSION,
    BackendIdentity,
    ContinuedFrom,
    Identity,
    NearestIdentity,
    PromptIdentity,
    RowSource,
    TrainIdentity,
)
from harness.core.types import Calibration, Decision, Example, LabelKind, LabelSpace, ShotsBy
from harness.data.drawing import first_rows
from harness.data.rows import fingerprint, load_examples, with_names
from harness.data.sources import rows_from
from harness.models.checkpoints import Checkpoint
from harness.parsing.parsers import Parser, make_parser
from harness.parsing.rendering import Renderer, pick_shots
from harness.running.nearest_shots import NearestShots
from harness.running.relabelling import Labelled, check_no_validation, relabelled
from harness.running.thresholds import RULE
from harness.running.trained_models import Start, trained_start
from harness.specs.backend_specs import (
    BackendSpec,
    checkpoint_of,
    engine_class,
    open_engine,
    unopened_engine,
    validated_options,
    with_settings,
)
from harness.specs.catalog import Catalog
from harness.specs.prompts import Prompt
from harness.specs.tasks import Split, TaskSpec
from harness.statistics.extra_metrics import require_trust
from harness.statistics.metrics import headline_of


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """`labelled`: where the labels of `train` came from, if not from the task."""

    langs: tuple[str, ...]
    train: list[Example]
    validation_langs: tuple[str, ...]
    validation: list[Example]
    labelled: Labelled | None = None


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """`shots`: the few-shot examples that all texts share. `nearest`: chooses each text's own, and then there are no others."""

    prompt: Prompt
    parser: Parser
    renderer: Renderer
    shots: list[Example]
    nearest: NearestShots | None = None

    def chats(self, texts: Sequence[str]) -> list[Messages]:
        if self.nearest is None:
            return [self.renderer.render(text) for text in texts]
        return [self.renderer.render(text, shots) for text, shots in zip(texts, self.nearest.of(texts), strict=True)]

    @property
    def candidates(self) -> list[Example]:
        """The labelled rows that a prompt may show."""
        return self.shots if self.nearest is None else self.nearest.pool


@dataclass(frozen=True)
class Plan:
    """All that a run needs. `engine` has nothing loaded yet."""

    options: RunOptions
    task: TaskSpec
    backend: BackendSpec
    engine: Engine
    checkpoint: Checkpoint | None
    rows: list[Example]
    rows_from: RowSource
    training: TrainingRows | None
    prompt: PromptPlan | None
    decision: Decision
    identity: Identity = field(repr=False)

    @property
    def run_id(self) -> str:
        return self.identity.run_id

    @property
    def earlier_run_id(self) -> str | None:
        """The id that an earlier version gave to this run, if it was another one."""
        options = self.engine.earlier_options()
        if options == self.identity.backend.options:
            return None
        backend = self.identity.backend.model_copy(update={"options": options})
        return self.identity.model_copy(update={"backend": backend}).run_id

    @property
    def has_truth(self) -> bool:
        """Whether the rows have true labels. Those of a labelling have none."""
        return self.identity.split != UNLABELLED


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a plan reads before it looks for a checkpoint."""

    task: TaskSpec
    backend: BackendSpec
    rows: list[Example]
    rows_from: RowSource
    training: TrainingRows | None
    prompt: PromptPlan | None
    decision: Decision


def _inputs(request: RunOptions, catalog: Catalog, unlabelled: Sequence[Example] | None) -> _Inputs:
    """Resolve every name, and read the rows. Raises `UserError`."""
    task = with_names(catalog.task(request.task), request.data)
    require_trust(task.name, task.metrics, catalog.trust_metric_code)
    backend = with_settings(catalog.backend(request.backend), request.settings)
    if request.model is not None:
        if engine_class(backend.engine).model_is == "name":
            backend = catalog.prices.filled(backend, request.model)
        # The YAML describes its own model, not this one.
        backend = backend.model_copy(
            update={"model": request.model, "revision": None, "training_cutoff": None, "shut_down": None}
        )
    if unlabelled is None:
        split_rows = load_examples(task, lang=request.lang, split=request.split, data_dir=request.data)
        origin = rows_from(task, request.split, request.data, len(split_rows))
    else:
        split_rows, origin = list(unlabelled), RowSource(source="files", split_rows=len(unlabelled))
    rows = first_rows(split_rows, request.limit, stratify=task.stratify_limits and unlabelled is None)
    kind = engine_class(backend.engine)
    training = _training_rows(request, task) if issubclass(kind, Classifier | TrainedLanguageModel) else None
    prompt = prompt_plan(request, task, catalog) if issubclass(kind, LanguageModel) else None
    if training is not None and prompt is not None:
        _check_trained_prompt(request, prompt)
    decision = _decision(request, task, prompt)
    if request.soft_labels and training is not None:
        check_soft_labels(backend)
    return _Inputs(task, backend, rows, origin, training, prompt, decision)


def make_plan(request: RunOptions, catalog: Catalog, unlabelled: Sequence[Example] | None = None) -> Plan:
    """Resolve every name, read the rows, find the checkpoint. Raises `UserError` and `ModelUnavailable`.

    `unlabelled`: rows to label, in place of those of the task's split; see `harness.running.labelling`.
    """
    given = _inputs(request, catalog, unlabelled)
    task, backend, rows, training, prompt = given.task, given.backend, given.rows, given.training, given.prompt
    kind, decision = engine_class(backend.engine), given.decision
    checkpoint = checkpoint_of(backend)  # last: other errors are found before a download
    start = trained_start(request.continue_from, backend, checkpoint, task) if request.continue_from else None
    engine = open_engine(backend, checkpoint if start is None else start.checkpoint)
    if isinstance(engine, Classifier) and training is not None:
        engine.expect(len(rows), len(training.validation))
    tuned = task.labels.kind is LabelKind.MULTILABEL and isinstance(engine, Classifier) and engine.threshold() is None
    chooses = isinstance(engine, Classifier) and engine.chooses_checkpoint
    identity = Identity(
        version=RESULT_VERSION,
        task=task.name,
        lang=request.lang,
        split=request.split if unlabelled is None else UNLABELLED,
        rows=fingerprint(rows),
        labels=list(task.label_space.names),
        label_kind=task.label_space.kind,
        backend=_backend_identity(backend, checkpoint, engine),
        train=_training_identity(
            training,
            start,
            request.resample_train and request.train_limit is not None,
            tuned,
            headline_of(task.labels.kind, task.rank_by)[0] if chooses else None,
        ),
        prompt=_prompt_identity(prompt, task.label_space),
        seed=request.seed,
        **_unless_default(
            decision=(decision if prompt is None else Decision.ARGMAX, Decision.ARGMAX),
            descriptions=(_told(task.label_space) if issubclass(kind, ZeroShot) else None, None),
        ),
    )
    return Plan(request, task, backend, engine, checkpoint, rows, given.rows_from, training, prompt, decision, identity)


def plan_without_model(request: RunOptions, catalog: Catalog, identity: Identity) -> Plan:
    """The plan of a run that was made elsewhere, for all that needs no model: its engine has its options alone, and can't be
    loaded. So neither the checkpoint nor the engine's libraries nor the device of the run need be on this machine.

    Raises `UserError`, and `OtherInputs` where rows, labels or prompt are not those of the identity.
    """
    given = _inputs(request, catalog, None)
    labels, train, asked = given.task.label_space, identity.train, identity.prompt
    here = _prompt_identity(given.prompt, labels)
    same = {
        "tested rows": fingerprint(given.rows) == identity.rows,
        "labels": (list(labels.names), labels.kind) == (identity.labels, identity.label_kind),
        "training rows": given.training is None or train is None or fingerprint(given.training.train) == train.train_rows,
        "validation rows": given.training is None
        or train is None
        or fingerprint(given.training.validation) == train.validation_rows,
        "prompt": _without_encoder(here) == _without_encoder(asked),
    }
    if others := [what for what, is_same in same.items() if not is_same]:
        raise OtherInputs(f"{identity.run_id}: its {' and '.join(others)} are not those that are here.", "")
    engine = unopened_engine(given.backend)
    return Plan(
        request,
        given.task,
        given.backend,
        engine,
        None,
        given.rows,
        given.rows_from,
        given.training,
        given.prompt,
        given.decision,
        identity,
    )


def _without_encoder(prompt: PromptIdentity | None) -> dict[str, Any] | None:
    """What embeds the texts has a device, which may be another one here."""
    return None if prompt is None else {name: value for name, value in prompt.as_json().items() if name != "nearest"}


def _training_rows(request: RunOptions, task: TaskSpec) -> TrainingRows:
    def rows(split: Split, langs: Sequence[str], limit: int | None, draw: int | None = None) -> list[Example]:
        if limit == 0:  # a task without validation rows can be trained without them
            return []
        parts = [load_examples(task, lang=lang, split=split, data_dir=request.data) for lang in langs]
        found = [row for part in parts for row in first_rows(part, limit, draw, task.stratify_limits)]
        if len({row.id for row in found}) < len(found):  # a file for each language, each with ids of its own
            found = [replace(row, id=f"{row.lang}/{row.id}") for row in found]
        return sorted(found, key=lambda row: row.id)

    langs = request.train_lang or (request.lang,)
    validation_langs = request.validation_lang or langs
    train = rows("train", langs, request.train_limit, request.seed if request.resample_train else None)
    if request.labels_from is None:
        return TrainingRows(langs, train, validation_langs, rows("validation", validation_langs, request.validation_limit))
    check_no_validation(request)
    train, labelled = relabelled(train, Path(request.labels_from), task.label_space, soft=request.soft_labels)
    return TrainingRows(langs, train, validation_langs, [], labelled)


def check_soft_labels(backend: BackendSpec) -> None:
    """Raises `UserError` for an engine that can't train on probabilities."""
    engine = engine_class(backend.engine)
    if issubclass(engine, Classifier):
        problem = engine.soft_labels_problem(validated_options(backend))
    else:
        problem = "learns to write an answer, and not the probabilities of labels"
    if problem:
        raise UserError(f"--soft-labels: {backend.name} {problem}.", "Leave out --soft-labels: it then trains on the labels.")


def _decision(request: RunOptions, task: TaskSpec, prompt: PromptPlan | None) -> Decision:
    if prompt is not None:
        return prompt.prompt.spec.decision
    decision = request.decision or Decision.ARGMAX
    if decision.needs_order and task.labels.kind is not LabelKind.ORDINAL:
        raise UserError(
            f"The decision {str(decision)!r} is for ordinal labels, and {task.name!r} is {task.labels.kind}.", "Leave it out."
        )
    return decision


def prompt_plan(request: RunOptions, task: TaskSpec, catalog: Catalog) -> PromptPlan:
    """The prompt as the options ask for it, and its few-shot examples. Raises `UserError`, `PromptError` and `DataError`."""
    labels = task.label_space
    prompt = catalog.prompt(request.prompt or task.default_prompt, request.lang)
    asked = {field: getattr(request, field) for field in ("decoding", "calibration", "decision", "shots", "shots_by")}
    chosen = {field: value for field, value in asked.items() if value is not None}
    prompt = replace(prompt, spec=prompt.spec.model_copy(update=chosen))
    parser, spec = make_parser(prompt.spec.parser, labels), prompt.spec
    if not spec.shots:
        if spec.shots_by is not ShotsBy.RANDOM:
            raise UserError(f"The prompt {prompt.name!r} has no few-shot examples that could be nearest.", "Add --shots N.")
        return PromptPlan(prompt, parser, Renderer(prompt, labels, request.lang), [])
    train = load_examples(task, lang=request.lang, split="train", data_dir=request.data)
    drawn = request.seed if request.resample_train else None
    train = first_rows(train, request.train_limit, drawn, task.stratify_limits)
    if spec.shots_by is ShotsBy.RANDOM:
        shots = pick_shots(train, spec.shots, labels, spec.seed_of_shots(request.seed))
        return PromptPlan(prompt, parser, Renderer(prompt, labels, request.lang, shots), shots)
    encoder = catalog.backend(spec.shots_encoder)
    checkpoint = checkpoint_of(encoder)
    engine = open_engine(encoder, checkpoint)
    nearest = NearestShots(spec.shots_by, spec.shots, train, labels, engine, _backend_identity(encoder, checkpoint, engine))
    # Any examples do to check the template: each text gets its own.
    renderer = Renderer(prompt, labels, request.lang, train[: nearest.examples])
    return PromptPlan(prompt, parser, renderer, [], nearest)


def _check_trained_prompt(request: RunOptions, plan: PromptPlan) -> None:
    """Raises `UserError` for what a language model that is trained can't be asked."""
    if plan.candidates:
        raise UserError(
            f"The prompt {plan.prompt.name!r} shows few-shot examples: training rows, which the model learns anyway.",
            "Use --shots 0, or a prompt without examples.",
        )
    if request.continue_from:
        raise UserError("A language model can't go on from an earlier training.", "Leave --continue-from out.")


def _told(labels: LabelSpace) -> str | None:
    """A digest of the labels' descriptions; None where there are none."""
    return digest(list(labels.descriptions)) if any(labels.descriptions) else None


def _unless_default(**values: tuple[Any, Any]) -> dict[str, Any]:
    """The values that differ from their defaults: an unused feature leaves a run's id unchanged."""
    return {name: value for name, (value, default) in values.items() if value != default}


def _backend_identity(backend: BackendSpec, checkpoint: Checkpoint | None, engine: Engine) -> BackendIdentity:
    known: dict[str, Any] = {
        "name": backend.name,
        "engine": backend.engine,
        "model": checkpoint.name if checkpoint else _served_name(backend.model),
        "revision": checkpoint.revision if checkpoint else None,
        "options": engine.options.model_dump(mode="json"),  # with the defaults: a change of a default is a change of the run
    }
    return BackendIdentity(**{**known, **engine.facts()})  # an engine may know which model is served


def _served_name(model: str | None) -> str | None:
    """A server may name a model by its path; records hold no paths."""
    return None if model is None else re.split(r"[/\\]", model)[-1] if re.match(r"[/~]|[A-Za-z]:", model) else model


def _training_identity(
    training: TrainingRows | None, start: Start | None, drawn: bool, tuned: bool, chosen_by: str | None
) -> TrainIdentity | None:
    """`tuned`: validation rows, if there are any, tune the thresholds of a multilabel task. `chosen_by`: the metric by which
    they choose a checkpoint; None for an engine that chooses none."""
    if training is None:
        return None
    langs, validated = list(training.langs), list(training.validation_langs)
    return TrainIdentity(
        version=TRAINING_VERSION,
        langs=langs,
        train_rows=fingerprint(training.train),
        train_count=len(training.train),
        validation_rows=fingerprint(training.validation),
        **_unless_default(
            validation_langs=(validated, langs),
            processes=(processes(), 1),  # a step has one batch per process
            drawn=(drawn, False),
            chosen_by=(chosen_by if training.validation else None, None),
            thresholds=(RULE if tuned and training.validation else None, None),
            continued_from=(start and ContinuedFrom(key=start.key, langs=start.langs), None),
            labels_from=(training.labelled and training.labelled.identity, None),
        ),
    )


def _prompt_identity(plan: PromptPlan | None, labels: LabelSpace) -> PromptIdentity | None:
    if plan is None:
        return None
    spec, nearest = plan.prompt.spec, plan.nearest
    return PromptIdentity(
        name=plan.prompt.name,
        variant=plan.prompt.lang,
        sha256=plan.prompt.sha256,
        decoding=spec.decoding,
        shots=[shot.id for shot in plan.shots],
        shots_sha256=digest([[shot.text, shot.label] for shot in plan.candidates]),
        **_unless_default(
            calibration=(spec.calibration, Calibration.NONE),
            decision=(spec.decision, Decision.ARGMAX),
            nearest=(nearest and _nearest_identity(nearest), None),
            descriptions=(_told(labels) if plan.renderer.shows_descriptions() else None, None),
        ),
    )


def _nearest_identity(nearest: NearestShots) -> NearestIdentity:
    return NearestIdentity(by=nearest.by, examples=nearest.examples, pool=len(nearest.pool), encoder=nearest.encoder)
