"""The runs of a learning curve: trained backends on growing numbers of labels, and prompted backends to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.break_even import BreakEven, break_even
from harness.core.engine import Classifier
from harness.core.errors import UserError
from harness.core.options import RunOptions
from harness.core.predictions import Predictions
from harness.core.record import PromptIdentity
from harness.core.types import Calibration, Decoding
from harness.data.rows import load_examples
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.specs.backend_specs import engine_class, validated_options, with_settings
from harness.specs.catalog import Catalog
from harness.specs.prompts import DEFAULT_PROMPTS, PromptSpec
from harness.specs.tasks import TaskSpec

ALL = "all"
FEW_SHOT = "fewshot"


@dataclass(frozen=True)
class CurveOptions:
    """What to plot, in one language. `base`: options of all runs. `sizes`: numbers of labels, None for all. `prompts`: each a
    line, with the calibration that replaces its own. `llm_seeds`: for the few-shot examples of the lines."""

    base: RunOptions
    encoders: Sequence[str]
    llms: Sequence[str]
    sizes: Sequence[int | None]
    seeds: Sequence[int]
    llm_seeds: Sequence[int]
    prompts: Sequence[tuple[str, Calibration | None]] = ()
    decodings: Sequence[Decoding | None] = (None,)
    min_steps: int = 100


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
    prompted = [
        base.changed(
            backend=llm,
            prompt=prompt,
            decoding=decoding,
            calibration=calibration,
            seed=seed,
            settings=_settings_of(curve, catalog, llm),
        )
        for llm in curve.llms
        for prompt, calibration in curve.prompts or default_prompts(catalog, base.task)
        for decoding in curve.decodings
        for seed in (curve.llm_seeds if _draws_shots(catalog.prompt(prompt, base.lang).spec) else curve.llm_seeds[:1])
    ]
    trained = [
        base.changed(
            backend=encoder,
            train_limit=size,
            resample_train=size is not None,
            validation_limit=0,
            seed=seed,
            settings=_trained_settings(curve, catalog, encoder, size or available),
        )
        for seed in curve.seeds
        for size in curve.sizes
        for encoder in curve.encoders
    ]
    return prompted + trained


def _draws_shots(prompt: PromptSpec) -> bool:
    """Whether the few-shot examples depend on the run's seed."""
    return prompt.shots > 0 and prompt.shots_seed is None


def default_prompts(catalog: Catalog, task: str) -> list[tuple[str, Calibration | None]]:
    """The task's own prompt or the zero-shot prompt for its kind of labels, and the few-shot prompt if it fits that kind."""
    spec = catalog.task(task)
    kind = spec.labels.kind
    few_shot = [FEW_SHOT] if kind in catalog.prompt(FEW_SHOT).spec.kinds else []
    return [(name, None) for name in (spec.prompt or DEFAULT_PROMPTS[kind], *few_shot)]


def _settings_of(curve: CurveOptions, catalog: Catalog, backend: str) -> dict[str, Any]:
    """Those of the settings that the backend has."""
    known = _options_of(catalog, backend)
    return {path: value for path, value in curve.base.settings.items() if path.split(".")[0] in known}


def _trained_settings(curve: CurveOptions, catalog: Catalog, backend: str, rows: int) -> dict[str, Any]:
    """Likewise, and as many epochs as few rows need."""
    spec, settings = catalog.backend(backend), _settings_of(curve, catalog, backend)
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
    """A curve and the runs that it is made of."""

    options: CurveOptions
    result: BreakEven
    run_ids: list[str]


def measured(curve: CurveOptions, runs: Iterable[tuple[RunOptions, str]], store: Store, metric: str) -> Measured | None:
    """From the completed runs in this language, in any order; None without a point of a curve. Raises what `break_even`
    raises."""
    curves: dict[str, dict[int, dict[int, Predictions]]] = {}
    lines: dict[str, tuple[int, dict[int, Predictions]]] = {}
    run_ids = []
    for options, run_id in runs:
        if options.lang != curve.base.lang:
            continue
        identity, predictions = store.record(run_id).identity, read_predictions(store, run_id)
        run_ids.append(run_id)
        if identity.train is not None:
            curves.setdefault(options.backend, {}).setdefault(identity.train.train_count, {})[options.seed] = predictions
        elif identity.prompt is not None:
            name, shots = line_name(options.backend, identity.prompt), identity.prompt.examples
            lines.setdefault(name, (shots, {}))[1][options.seed] = predictions
    return Measured(curve, break_even(curves, lines, metric), run_ids) if curves else None


def line_name(backend: str, prompt: PromptIdentity) -> str:
    """`smollm2 (fewshot · score, batch calibration)`."""
    calibration = f", {prompt.calibration} calibration" if prompt.calibration is not Calibration.NONE else ""
    return f"{backend} ({prompt.name} · {prompt.decoding}{calibration})"
