"""The runs of a learning curve: trained backends on more and more labels, and prompted ones beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from harness.running.plan import DEFAULT_PROMPTS
from harness.specs.backend_specs import engine_class, validated_options, with_settings
from harness.specs.catalog import Catalog
from harness.specs.tasks import TaskSpec

ALL = "all"
FEW_SHOT = "fewshot"


@dataclass(frozen=True)
class Wanted:
    """What to draw, in one language. `sizes`: numbers of labels, None for all there are. `prompts`: each a line, with the
    calibration that replaces its own; `llm_seeds`: how many of the seeds draw exemplars for them (None: all)."""

    task: str
    lang: str
    encoders: Sequence[str]
    llms: Sequence[str]
    sizes: Sequence[int | None]
    seeds: Sequence[int]
    prompts: Sequence[tuple[str, Calibration | None]] = ()
    decodings: Sequence[Decoding | None] = (None,)
    min_steps: int = 100
    llm_seeds: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    data_dir: Path | None = None


def sizes_of(texts: Sequence[str], available: int) -> list[int | None]:
    """`["8", "16", "...", "all"]` -> 8, 16, 32, ... and None for all; `...` goes on as the two before it do.

    Sizes that are not available are left out, and so is a size that is all there is. Raises `UserError` for what is no size.
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
        raise UserError(f"--sizes: there are only {available} training rows.", "Ask for fewer, or for all.")
    return [*sorted({size for size in found if size < available}), *([None] if whole else [])]


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserError(f"--sizes: {text!r} is no number of labels.", "For example: --sizes 8,16,...,all")
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
    """Training rows that there are in this language."""
    return len(load_examples(task, lang=lang, split="train", data_dir=data_dir))


def requests_of(wanted: Wanted, catalog: Catalog, available: int) -> list[RunOptions]:
    """The cheap ones first: prompted backends, then a seed after the other, so that a stopped curve has whole seeds.

    Trained backends see no validation rows: these are labels too, and would be spent without being counted.
    """
    common = RunOptions(task=wanted.task, backend="", lang=wanted.lang, limit=wanted.limit, data=wanted.data_dir)
    prompted = [
        common.changed(backend=llm, prompt=prompt, decoding=decoding, calibration=calibration, seed=seed)
        for llm in wanted.llms
        for prompt, calibration in wanted.prompts or default_prompts(catalog, wanted.task)
        for decoding in wanted.decodings
        for seed in wanted.seeds[: wanted.llm_seeds if catalog.prompt(prompt, wanted.lang).spec.shots else 1]
    ]
    trained = [
        common.changed(
            backend=encoder,
            train_limit=size,
            resample_train=size is not None,
            validation_limit=0,
            seed=seed,
            settings=_settings(wanted, catalog, encoder, size or available),
        )
        for seed in wanted.seeds
        for size in wanted.sizes
        for encoder in wanted.encoders
    ]
    return prompted + trained


def default_prompts(catalog: Catalog, task: str) -> list[tuple[str, Calibration | None]]:
    """As they are: the task's own or the zero-shot prompt for such labels, and the few-shot one where it fits them."""
    spec = catalog.task(task)
    kind = spec.labels.kind
    few_shot = [FEW_SHOT] if kind in catalog.prompt(FEW_SHOT).spec.kinds else []
    return [(name, None) for name in (spec.prompt or DEFAULT_PROMPTS[kind], *few_shot)]


def _settings(wanted: Wanted, catalog: Catalog, backend: str, rows: int) -> dict[str, Any]:
    """Those of the settings that the backend has, and as many epochs as few rows need."""
    spec = catalog.backend(backend)
    engine = engine_class(spec.engine)
    assert issubclass(engine, Classifier)
    settings = {path: value for path, value in wanted.settings.items() if path.split(".")[0] in engine.Options.model_fields}
    options = validated_options(with_settings(spec, settings))
    return {**settings, **engine.with_min_steps(options, rows, wanted.min_steps)}


def check_settings(wanted: Wanted, catalog: Catalog) -> None:
    """Raise `UserError` for a setting that none of the trained backends has."""
    known = {name for backend in wanted.encoders for name in engine_class(catalog.backend(backend).engine).Options.model_fields}
    for path in wanted.settings:
        if path.split(".")[0] not in known:
            raise UserError(
                f"--set {path}: none of {', '.join(wanted.encoders)} has it.", f"They have: {', '.join(sorted(known))}."
            )


@dataclass(frozen=True)
class Measured:
    """What came of it, and the runs that it stands on."""

    wanted: Wanted
    result: BreakEven
    run_ids: list[str]


def measured(wanted: Wanted, runs: Iterable[tuple[RunOptions, str]], store: Store, metric: str) -> Measured | None:
    """From the completed runs, in whatever order, those of this language; None where there is no point of a curve.

    Raises what `break_even` raises.
    """
    curves: dict[str, dict[int, dict[int, Predictions]]] = {}
    lines: dict[str, tuple[int, dict[int, Predictions]]] = {}
    run_ids = []
    for request, run_id in runs:
        if request.lang != wanted.lang:
            continue
        columns = read_predictions(store, run_id)
        prompt, train = columns.identity.prompt, columns.identity.train
        run_ids.append(run_id)
        if prompt is None:
            curves.setdefault(request.backend, {}).setdefault(train.train_count if train else 0, {})[request.seed] = columns
        else:
            lines.setdefault(line_name(request.backend, prompt), (len(prompt.shots), {}))[1][request.seed] = columns
    return Measured(wanted, break_even(curves, lines, metric), run_ids) if curves else None


def line_name(backend: str, prompt: PromptIdentity) -> str:
    """`smollm2 (fewshot · score, batch calibration)`."""
    calibration = f", {prompt.calibration} calibration" if prompt.calibration is not Calibration.NONE else ""
    return f"{backend} ({prompt.name} · {prompt.decoding}{calibration})"
