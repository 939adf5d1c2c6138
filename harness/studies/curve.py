"""The runs of a learning curve: trained backends on growing numbers of labels, and prompted and zero-shot ones to compare
with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.break_even import BreakEven, break_even
from harness.analysis.pricing import labelling_usd
from harness.core.engine import Classifier
from harness.core.errors import UserError
from harness.core.options import CHECKPOINT, RunOptions
from harness.core.predictions import Predictions
from harness.core.record import PromptIdentity
from harness.core.types import Calibration, Decoding, ShotsBy
from harness.data.rows import load_examples
from harness.records.labellings import read_labelling
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.running.relabelling import relabelled
from harness.specs.asked import is_prompted
from harness.specs.backend_specs import engine_class, validated_options, with_settings
from harness.specs.catalog import Catalog
from harness.specs.prices import Prices
from harness.specs.prompts import PromptSpec
from harness.specs.tasks import TaskSpec
from harness.statistics.row_means import known_metrics

ALL = "all"
FEW_SHOT = "fewshot"
HUMAN, TEACHER, SOFT = "human labels", "LLM labels", "LLM probabilities"
"""What a trained backend learned from, where a curve has a teacher."""


@dataclass(frozen=True)
class CurveOptions:
    """What to plot, in one language. `base`: options of all runs. `sizes`: numbers of labels, None for all. `prompts`: each a
    line, with the calibration that replaces its own. `llm_seeds`: for the few-shot examples of the lines. `teacher`: the folder
    of a labelling: each trained backend also learns from its labels, and with `soft_labels` from its probabilities."""

    base: RunOptions
    encoders: Sequence[str]
    llms: Sequence[str]
    sizes: Sequence[int | None]
    seeds: Sequence[int]
    llm_seeds: Sequence[int]
    prompts: Sequence[tuple[str, Calibration | None]] = ()
    decodings: Sequence[Decoding | None] = (None,)
    min_steps: int = 100
    teacher: Path | None = None
    soft_labels: bool = False


@dataclass(frozen=True)
class Teaching:
    """The labels of a model against those of people. `line`: the name of the model's line in the curve. `rows`: training rows
    in the language; `unlabelled`: those without a readable label. `agreement`: share of the others whose label is the task's.
    `usd_per_label`: of the model; None where it has no price. `shots`: few-shot examples of its prompt, which people
    labelled."""

    labelling: str
    teacher: str
    line: str
    rows: int
    unlabelled: int
    agreement: float
    usd_per_label: float | None
    human_usd_per_label: float | None
    shots: int

    def usd(self, labels: float) -> float | None:
        """What so many labels of the model cost, with its few-shot examples; None without a price."""
        if self.usd_per_label is None:
            return None
        return labels * self.usd_per_label + self.shots * (self.human_usd_per_label or 0.0)

    def human_usd(self, labels: float) -> float | None:
        """What so many labels of people cost; None without a price."""
        return None if self.human_usd_per_label is None else labels * self.human_usd_per_label


def sizes_of(texts: Sequence[str], available: int) -> list[int | None]:
    """`["8", "16", "...", "all"]` -> 8, 16, 32, ... and None for all; `...` continues the ratio of the two sizes before it.

    Sizes of which there are not enough rows are left out. Raises `UserError` for what is not a size.
    """
    found: list[int] = []
    whole = False
    for place, text in enumerate(texts):
        if text == ALL:
            whole = True
        elif text == "...":
            end = texts[place + 1] if place + 1 < len(texts) else ALL
            found += _between(found, available if end == ALL else _size(end))
            whole = whole or place + 1 == len(texts)
        else:
            found.append(_size(text))
    whole = whole or available in found
    if not whole and min(found, default=0) > available:
        raise UserError(f"--sizes: there are only {available} training rows.", "Give a smaller size, or all.")
    return [*sorted({size for size in found if size < available}), *([None] if whole else [])]


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"--sizes: expected a number of labels, got {text!r}.", "For example: --sizes 8,16,...,all")
    return int(text)


def _between(found: Sequence[int], end: int) -> list[int]:
    if len(found) < 2 or found[-1] <= found[-2]:
        raise UserError("--sizes: `...` needs two growing numbers before it.", "For example: --sizes 8,16,...,all")
    sizes, ratio = [], found[-1] / found[-2]
    size = found[-1] * ratio
    while round(size) < end:
        sizes.append(round(size))
        size *= ratio
    return sizes


def available_labels(task: TaskSpec, lang: str, data_dir: Path | None) -> int:
    """Number of training rows in this language."""
    return len(load_examples(task, lang=lang, split="train", data_dir=data_dir))


def runs_of(curve: CurveOptions, catalog: Catalog, available: int) -> list[RunOptions]:
    """Prompted backends first, then one seed after the other, so that a stopped curve has complete seeds.

    Trained backends see no validation rows: their labels would be spent without being counted.
    """
    base = curve.base.changed(settings={})
    lines = [run for llm in curve.llms for run in _line_runs(curve, catalog, llm)]
    trained = [
        base.changed(
            backend=encoder,
            train_limit=size,
            resample_train=size is not None,
            validation_limit=0,
            seed=seed,
            settings=_trained_settings(curve, catalog, encoder, size or available),
            **labels,
        )
        for seed in curve.seeds
        for size in curve.sizes
        for encoder in curve.encoders
        for labels in _kinds_of_labels(curve)
    ]
    taught = [] if curve.teacher is None else [_teacher_run(curve, curve.teacher)]
    return [*taught, *(run for run in lines if run not in taught), *trained]


def _line_runs(curve: CurveOptions, catalog: Catalog, llm: str) -> list[RunOptions]:
    """Of a prompted backend for each prompt, decoding and, where they draw examples, seed; of a zero-shot one a single run."""
    base = curve.base.changed(backend=llm, seed=curve.llm_seeds[0], settings=settings_of(curve, catalog, llm))
    if not is_prompted(catalog, llm):
        return [base]
    return [
        base.changed(prompt=prompt, decoding=decoding, calibration=calibration, seed=seed)
        for prompt, calibration in curve.prompts or default_prompts(catalog, base.task)
        for decoding in curve.decodings
        for seed in (curve.llm_seeds if _draws_shots(catalog.prompt(prompt, base.lang).spec) else curve.llm_seeds[:1])
    ]


def _kinds_of_labels(curve: CurveOptions) -> list[dict[str, Any]]:
    """The labels of the task, and those of the teacher."""
    if curve.teacher is None:
        return [{}]
    theirs = {"labels_from": curve.teacher.as_posix()}
    return [{}, theirs, *([{**theirs, "soft_labels": True}] if curve.soft_labels else [])]


def _teacher_run(curve: CurveOptions, folder: Path) -> RunOptions:
    """The run of the model that labelled on the test rows: as it labelled, in the curve's language."""
    options = read_labelling(folder)[0].options
    return options.changed(split="test", limit=curve.base.limit, lang=curve.base.lang, data=curve.base.data)


def check_teacher(folder: Path, task: TaskSpec, lang: str, data_dir: Path | None, *, soft: bool) -> None:
    """Raise `UserError` for a labelling that is of another task or language, or lacks training rows, before the first run."""
    record, _ = read_labelling(folder)
    if (record.identity.task, record.identity.lang) != (task.name, lang):
        there = f"{record.identity.task} in {record.identity.lang}"
        raise UserError(
            f"The labelling {record.run_id} is of {there}, the curve of {task.name} in {lang}.",
            "Name the task and the language of the labelling: --task NAME --lang CODE",
        )
    if record.identity.train is not None:
        problem = f"The labelling {record.run_id} is of a trained model, whose labels cost those that it learned from."
        raise UserError(problem, "Name one of a prompted or a zero-shot model.")
    if record.options.model == CHECKPOINT:
        raise UserError(
            f"The labelling {record.run_id} is of a checkpoint outside the project's folder, which its record does not name: "
            "the curve can't run it on the test rows.",
            "Write a backend whose `model` is that folder (backends/NAME.yaml), and label with --backend NAME.",
        )
    rows = load_examples(task, lang=lang, split="train", data_dir=data_dir)
    relabelled(rows, folder, task.label_space, soft=soft)


def teaching_of(curve: CurveOptions, task: TaskSpec, prices: Prices, human_usd: float | None) -> Teaching | None:
    """What the teacher's labels are worth; None for a curve without a teacher. The labels of the task are read for the
    agreement alone."""
    if curve.teacher is None:
        return None
    record, _ = read_labelling(curve.teacher)
    rows = load_examples(task, lang=curve.base.lang, split="train", data_dir=curve.base.data)
    labelled, _ = relabelled(rows, curve.teacher, task.label_space, soft=False)
    truth = {row.id: row.label for row in rows}
    usd = labelling_usd(record.facts(record.n, record.unlabelled), prices)
    return Teaching(
        labelling=record.run_id,
        teacher=record.identity.backend.name,
        line=_teacher_name(record.options.backend, record.identity.prompt),
        rows=len(rows),
        unlabelled=len(rows) - len(labelled),
        agreement=sum(row.label == truth[row.id] for row in labelled) / len(labelled),
        usd_per_label=None if usd is None else usd / record.n,
        human_usd_per_label=human_usd,
        shots=record.facts(record.n, record.unlabelled).shots,
    )


def _draws_shots(prompt: PromptSpec) -> bool:
    """Whether the few-shot examples depend on the run's seed."""
    return prompt.shots > 0 and prompt.shots_seed is None and prompt.shots_by is ShotsBy.RANDOM


def default_prompts(catalog: Catalog, task: str) -> list[tuple[str, Calibration | None]]:
    """The task's own prompt or the zero-shot prompt for its kind of labels, and the few-shot prompt if it fits that kind."""
    spec = catalog.task(task)
    kind = spec.labels.kind
    few_shot = [FEW_SHOT] if kind in catalog.prompt(FEW_SHOT).spec.kinds else []
    return [(name, None) for name in (spec.default_prompt, *few_shot)]


def settings_of(curve: CurveOptions, catalog: Catalog, backend: str) -> dict[str, Any]:
    """Those of the settings that the backend has."""
    known = _options_of(catalog, backend)
    return {path: value for path, value in curve.base.settings.items() if path.split(".")[0] in known}


def _trained_settings(curve: CurveOptions, catalog: Catalog, backend: str, rows: int) -> dict[str, Any]:
    """Likewise, and as many epochs as few rows need."""
    spec, settings = catalog.backend(backend), settings_of(curve, catalog, backend)
    engine = engine_class(spec.engine)
    assert issubclass(engine, Classifier)
    options = validated_options(with_settings(spec, settings))
    return {**settings, **engine.with_min_steps(options, rows, curve.min_steps)}


def _options_of(catalog: Catalog, backend: str) -> set[str]:
    return set(engine_class(catalog.backend(backend).engine).Options.model_fields)


def check_settings(curve: CurveOptions, catalog: Catalog) -> None:
    """Raise `UserError` for a setting that no backend of the curve has."""
    backends = [*curve.encoders, *curve.llms]
    known = {name for backend in backends for name in _options_of(catalog, backend)}
    for path in curve.base.settings:
        if path.split(".")[0] not in known:
            raise UserError(f"--set {path}: none of {', '.join(backends)} has it.", f"They have: {', '.join(sorted(known))}.")


@dataclass(frozen=True)
class Measured:
    """A curve and the runs that it is made of. `log_loss`: the same by log loss, where there is a teacher and one label a row;
    lines without probabilities are not in it."""

    options: CurveOptions
    result: BreakEven
    run_ids: list[str]
    log_loss: BreakEven | None = None
    teaching: Teaching | None = None


Curves = dict[str, dict[int, dict[int, Predictions]]]
Lines = dict[str, tuple[int, dict[int, Predictions]]]


def measured(
    curve: CurveOptions, runs: Iterable[tuple[RunOptions, str]], store: Store, metric: str, teaching: Teaching | None = None
) -> Measured | None:
    """From the completed runs in this language, in any order; None without a point of a curve. Raises what `break_even`
    raises."""
    curves: Curves = {}
    lines: Lines = {}
    run_ids = []
    taught = None if curve.teacher is None else _teacher_run(curve, curve.teacher)
    for options, run_id in runs:
        if options.lang != curve.base.lang:
            continue
        record, predictions = store.record(run_id), read_predictions(store, run_id)
        run_ids.append(run_id)
        prompt, train = record.identity.prompt, record.identity.train
        if train is not None:
            asked = train.train_count if record.labelled is None else record.labelled.asked
            name = curve_name(curve, options)
            curves.setdefault(name, {}).setdefault(asked, {})[options.seed] = predictions
        else:
            name = (_teacher_name if options == taught else line_name)(options.backend, prompt)
            used = 0 if prompt is None else prompt.labels_used
            lines.setdefault(name, (used, {}))[1][options.seed] = predictions
    if not curves:
        return None
    pairs = _pairs(curves, curve)
    log_loss = None
    if pairs and metric != "log_loss":
        log_loss = _by_log_loss(curves, lines, pairs)
    return Measured(curve, break_even(curves, lines, metric, pairs=pairs), run_ids, log_loss, teaching)


def _by_log_loss(curves: Curves, lines: Lines, pairs: Sequence[tuple[str, str]]) -> BreakEven | None:
    """None for a multilabel task, or if a trained backend has no probabilities."""
    runs = [run for sizes in curves.values() for seeds in sizes.values() for run in seeds.values()]
    if any("log_loss" not in known_metrics(run.labels.kind, probable=run.probabilities is not None) for run in runs):
        return None
    probable = {
        name: (shots, seeds)
        for name, (shots, seeds) in lines.items()
        if all(run.probabilities is not None for run in seeds.values())
    }
    return break_even(curves, probable, "log_loss", pairs=pairs)


def curve_name(curve: CurveOptions, options: RunOptions) -> str:
    """`tfidf`, and where there is a teacher `tfidf · human labels`, `tfidf · LLM labels`, `tfidf · LLM probabilities`."""
    if curve.teacher is None:
        return options.backend
    kind = HUMAN if options.labels_from is None else SOFT if options.soft_labels else TEACHER
    return f"{options.backend} · {kind}"


def _pairs(curves: Curves, curve: CurveOptions) -> list[tuple[str, str]]:
    if curve.teacher is None:
        return []
    pairs = [(f"{encoder} · {HUMAN}", f"{encoder} · {kind}") for encoder in curve.encoders for kind in (TEACHER, SOFT)]
    return [pair for pair in pairs if pair[0] in curves and pair[1] in curves]


def _teacher_name(backend: str, prompt: PromptIdentity | None) -> str:
    """`qwen (strict · score), teacher`."""
    return f"{line_name(backend, prompt)}, teacher"


def line_name(backend: str, prompt: PromptIdentity | None) -> str:
    """`smollm2 (fewshot · score, batch calibration)`; without a prompt `gliclass (zero-shot)`."""
    if prompt is None:
        return f"{backend} (zero-shot)"
    calibration = f", {prompt.calibration} calibration" if prompt.calibration is not Calibration.NONE else ""
    return f"{backend} ({prompt.name} · {prompt.decoding}{calibration})"
