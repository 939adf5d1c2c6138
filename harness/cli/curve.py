"""`bench study curve`: quality against training-set size, and where a trained backend overtakes a prompted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.dry_run import DryRun, print_plan
from harness.cli.options import (
    Json,
    Many,
    catalog,
    finite_number,
    names,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
    write_page,
)
from harness.cli.requests import budget_of, completed, member
from harness.cli.run_options import completion, takes_run_options
from harness.core.options import IN_PARTS, ExecutionOptions, RunOptions
from harness.core.plain import plain
from harness.specs.asked import Asked, check_data, check_fit, check_trained_classifier, is_prompted, is_trained, read_option

if TYPE_CHECKING:
    from harness.analysis.break_even import BreakEven, Estimate
    from harness.core.types import Calibration
    from harness.specs.catalog import Catalog
    from harness.studies.curve import CurveOptions, Measured

DEFAULT_SIZES = ["8", "16", "...", "all"]
HELP = {
    "lang": "Draw a curve for each language; default: all of the task's.",
    "prompt": "Prompt, a line each; fewshot+batch adds batch calibration. Default: the zero-shot prompt and fewshot.",
    "seed": "Seeds; each draws its own labels and few-shot examples.",
    "labels_from": "Also train on the labels of this labelling of the train split (see `bench label`), on the same rows. "
    "Its model must be prompted, and not trained.",
    "soft_labels": "With --labels-from: also train on the probabilities of the labels.",
}
Encoder = Annotated[
    Many, typer.Option(metavar="NAME", help="Backend that trains: one curve each.", autocompletion=completion("backend"))
]
Llm = Annotated[
    Many,
    typer.Option(
        metavar="NAME", help="Backend that is prompted, or zero-shot: one line each.", autocompletion=completion("backend")
    ),
]
Sizes = Annotated[Many, typer.Option(metavar="N", help="Numbers of labels; `...` continues the ratio. Default: 8,16,...,all.")]
LlmSeed = Annotated[Many, typer.Option(metavar="N", help="Seeds of the few-shot examples; default: those of --seed.")]
Metric = Annotated[str | None, typer.Option(metavar="NAME", help="Metric; default: the task's first headline metric.")]
LabelUsd = Annotated[float | None, typer.Option(metavar="USD", help="With --labels-from: the price of a label from a person.")]
MinSteps = Annotated[int, typer.Option(min=1, metavar="N", help="Train at least N steps, with more epochs if needed.")]


@takes_run_options(
    *("task", "lang", "prompt", "decoding", "settings", "seed", "limit", "data", "labels_from", "soft_labels"),
    *(name for name in ExecutionOptions.model_fields if name not in IN_PARTS),
    help=HELP,
    defaults={"seed": (0, 1, 2, 3, 4)},
)
def curve_command(
    asked: Asked,
    execution: ExecutionOptions,
    encoder: Encoder = None,
    llm: Llm = None,
    sizes: Sizes = None,
    llm_seed: LlmSeed = None,
    metric: Metric = None,
    min_steps: MinSteps = 100,
    label_usd: LabelUsd = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Plot quality against training-set size.

    Reports where fine-tuning overtakes prompting. Each point is a run as `bench run --resample-train --validation-limit 0`
    makes it. A recorded run is not repeated, and a stopped one continues: repeat the command. Writes a page, a plot and the
    figures to curves/ in the folder of results.

    With --labels-from each trained backend has a second curve, trained on the labels of a model, and the model has a line: its
    own run on the test rows. Rows that the model left without a label are left out of the second curve.

    --json prints a list with an object per language: sentence, task, lang, metric, n, curves (name, points: labels, value,
    low, high, by_seed), lines (name, labels, value, low, high, by_seed), crossings (curve, line, labels, low, high; 0: from
    the smallest number on, null: not up to the largest; never: share of the resamples; line_labels: that the line used;
    passes and stretches: of the means as they are: labels, low, high, upward; start, end, better, sure), contrasts (curve,
    other, differences, equal_up_to, crossing, worth, most), runs, page, picture; with --labels-from log_loss (the same by
    log loss, or null) and teaching (labelling, teacher, rows, unlabelled, agreement, usd_per_label, human_usd_per_label,
    shots). With --dry-run: as `bench study recipe` prints it.
    """
    from harness.cli.execute_runs import run_all, tracking_with
    from harness.core.errors import UserError
    from harness.execution.jobs import requests_of
    from harness.specs.prices import load_prices
    from harness.studies.curve import CurveOptions, measured, teaching_of
    from harness.studies.steps import steps_of_runs

    known = catalog(execution.trust_metric_code)
    trained, prompted = names(encoder, "--encoder"), names(llm, "--llm")
    _check_backends(known, trained, prompted, asked)
    store = open_store(execution.results)
    _check_labels_options(asked, label_usd)
    asked = _as_labelled(completed(asked.changed(backend=[*trained, *prompted]), known, store), asked)
    check_data(asked.one("data"))
    if dry_run and asked.one("data") is None and (hub := known.task(asked.one("task")).source.hub) is not None:
        raise UserError(
            f"--dry-run: the sizes follow from the rows of {hub.id}, which are on the hub.", "Name a copy: --data DIR."
        )
    chosen = _chosen(known, asked.one("task"), metric)
    first = CurveOptions(
        base=asked.base(task=asked.one("task"), limit=asked.one("limit")).changed(labels_from=None, soft_labels=False),
        encoders=trained,
        llms=prompted,
        sizes=[],
        seeds=asked.many("seed"),
        llm_seeds=asked.many("seed") if llm_seed is None else read_option("seed", llm_seed),
        prompts=_lines(asked.many("prompt")),
        decodings=asked.many("decoding") or [None],
        min_steps=min_steps,
        teacher=None if asked.one("labels_from") is None else Path(asked.one("labels_from")),
        soft_labels=asked.one("soft_labels"),
    )
    plans = _plans(known, first, asked.many("lang"), names(sizes, "--sizes") or DEFAULT_SIZES)
    runs = [run for _, runs in plans for run in runs]
    check_fit(known, runs)
    if dry_run:
        print_plan(steps_of_runs(runs), known, store, execution, as_json=as_json)
        return
    budget = budget_of(execution, known, dict.fromkeys(run.backend for run in runs), None)
    with tracking_with(execution) as series:
        outcomes, stopped = run_all(known, requests_of(runs), store, execution, budget)
    if not stopped:
        done = [(outcome.options, outcome.run_id) for outcome in outcomes if outcome.run_id]
        prices = load_prices(Path.cwd())
        taught = {curve.base.lang: teaching_of(curve, known.task(curve.base.task), prices, label_usd) for curve, _ in plans}
        found = [made for curve, _ in plans if (made := measured(curve, done, store, chosen, taught[curve.base.lang]))]
        _show(found, execution.results, as_json, lost=len(outcomes) - len(done), of=len(outcomes))
    series.finish(outcomes, stopped)


def _plans(
    known: Catalog, first: CurveOptions, langs: Sequence[str], sizes: Sequence[str]
) -> list[tuple[CurveOptions, list[RunOptions]]]:
    """A curve for each language, and its runs."""
    from harness.studies.curve import available_labels, check_settings, runs_of, sizes_of

    task = known.task(first.base.task)
    plans = []
    for language in langs or task.languages:
        available = available_labels(task, language, first.base.data)
        curve = replace(first, base=first.base.changed(lang=language), sizes=sizes_of(sizes, available))
        check_settings(curve, known)
        if curve.teacher is not None:
            _check_teacher(curve, curve.teacher, known)
        plans.append((curve, runs_of(curve, known, available)))
    return plans


def _check_labels_options(asked: Asked, label_usd: float | None) -> None:
    from harness.core.errors import UserError

    teacher = asked.one("labels_from")
    if teacher is None and (asked.one("soft_labels") or label_usd is not None):
        option = "--soft-labels" if asked.one("soft_labels") else "--label-usd"
        raise UserError(f"{option} needs --labels-from.", "Name a labelling of the train split: `bench label` makes it.")
    if label_usd is not None and finite_number(label_usd, "--label-usd") < 0:
        raise UserError(f"--label-usd {label_usd:g}: it must be at least 0.", "For example: 0.1")


def _as_labelled(asked: Asked, given: Asked) -> Asked:
    """With the task and the language of the labelling, where they were not given."""
    from harness.records.labellings import read_labelling

    if asked.one("labels_from") is None:
        return asked
    identity = read_labelling(Path(asked.one("labels_from")))[0].identity
    return asked.changed(task=given.many("task") or [identity.task], lang=given.many("lang") or [identity.lang])


def _check_teacher(curve: CurveOptions, teacher: Path, known: Catalog) -> None:
    """Raise `UserError` for labels that the curve can't use."""
    from harness.data.rows import with_names
    from harness.running.plan import check_soft_labels
    from harness.specs.backend_specs import with_settings
    from harness.studies.curve import check_teacher, settings_of

    base = curve.base
    check_teacher(teacher, with_names(known.task(base.task), base.data), base.lang, base.data, soft=curve.soft_labels)
    if curve.soft_labels:
        for encoder in curve.encoders:
            check_soft_labels(with_settings(known.backend(encoder), settings_of(curve, known, encoder)))


def _show(found: Sequence[Measured], results: Path, as_json: bool, lost: int, of: int) -> None:
    written = [_write(made, results) for made in found]
    with tolerate_broken_pipe():
        if as_json and found:
            print_json(written)
        elif not as_json:
            for made in found:
                _print(made)
    if lost and found:
        typer.echo(plain(f"note: {lost} of {of} runs failed; a point is the mean of the others."), err=True)


def _check_backends(known: Catalog, trained: Sequence[str], prompted: Sequence[str], asked: Asked) -> None:
    from harness.core.errors import UserError

    if not trained:
        raise UserError("A curve needs a backend that trains.", "Name one or more with --encoder.")
    for name in trained:
        if not is_trained(known, name):
            raise UserError(f"--encoder {name}: this backend is not trained.", f"For a line: --llm {name}")
        check_trained_classifier(known, name, f"--encoder {name}")
    for name in prompted:
        if is_trained(known, name):
            check_trained_classifier(known, name, f"--llm {name}")
            raise UserError(f"--llm {name}: this backend is trained.", f"For a curve: --encoder {name}")
    if not any(is_prompted(known, name) for name in prompted) and (asked.many("prompt") or asked.many("decoding")):
        raise UserError("--prompt and --decoding need a prompted backend.", "Name one with --llm.")


def _lines(prompts: Sequence[str]) -> list[tuple[str, Calibration | None]]:
    """`strict,fewshot+batch`: the one as it is, the other with batch calibration."""
    from harness.core.types import Calibration

    parts = [text.partition("+") for text in prompts]
    return [(name, member(Calibration, calibration) if plus else None) for name, plus, calibration in parts]


def _chosen(known: Catalog, task: str, metric: str | None) -> str:
    """The metric; a wrong name is found before the first model trains."""
    from harness.core.errors import UserError
    from harness.statistics.metrics import headline_of
    from harness.statistics.row_means import known_metrics

    spec = known.task(task)
    kind = spec.labels.kind
    offered = known_metrics(kind, probable=True)
    if metric is not None and metric not in offered:
        raise UserError(f"--metric {metric}: not available as a curve for {kind} labels.", f"Known: {', '.join(offered)}.")
    return metric or headline_of(kind, spec.rank_by)[0]


def _write(made: Measured, results: Path) -> dict[str, Any]:
    """Write the page, the plot and the figures; the figures."""
    from harness.core.json_files import pretty_json, sealed, write_atomically
    from harness.reports.curve_page import markdown, svg
    from harness.reports.label_curve import sentences
    from harness.reports.label_curve import tables as compared

    base, result = made.options.base, made.result
    stem = _stem(made.options, result.metric)
    second = (
        None if made.log_loss is None else _second_picture(made.log_loss, base, results / "curves" / f"{stem}-log_loss.svg")
    )
    notes, tables = ([], []) if made.teaching is None else (sentences(made), compared(made))
    page, picture = write_page(
        results / "curves",
        stem,
        lambda picture: markdown(result, base.task, base.lang, picture, notes, tables, second),
        lambda: svg(result, base.task, base.lang),
    )
    figures = _figures(made, page, picture)
    write_atomically(page.with_suffix(".json"), pretty_json(sealed(figures)))
    return figures


def _second_picture(result: BreakEven, base: RunOptions, path: Path) -> tuple[str, str] | None:
    """The plot by log loss: its title and file name; None where nothing draws plots."""
    from harness.core.errors import MissingExtra
    from harness.core.json_files import write_atomically
    from harness.records.entries import TITLES
    from harness.reports.curve_page import svg

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, svg(result, base.task, base.lang))
    except MissingExtra:  # the first plot says so
        path.unlink(missing_ok=True)
        return None
    return TITLES[result.metric], path.name


def _stem(curve: CurveOptions, metric: str) -> str:
    """A readable file name; other settings give another one. A curve with more sizes or seeds replaces the smaller one."""
    from harness.core.file_names import own_stem
    from harness.core.json_files import digest

    backends = [*curve.encoders, "vs", *curve.llms] if curve.llms else curve.encoders
    base, prompts = curve.base, [list(pair) for pair in curve.prompts]
    taught = [] if curve.teacher is None else [curve.teacher.name, curve.soft_labels]
    settings = digest([prompts, list(curve.decodings), curve.min_steps, dict(base.settings), base.limit, *taught])
    return f"{own_stem([base.task, base.lang, *backends, metric])}-{settings[:8]}"


def _figures(made: Measured, page: Path, picture: Path | None) -> dict[str, Any]:
    from harness.reports.curve_page import sentence

    result, base = made.result, made.options.base
    figures = {
        "sentence": sentence(result, base.lang),
        "task": base.task,
        "lang": base.lang,
        **_result_figures(result),
        "runs": made.run_ids,
        "page": page.name,
        "picture": picture and picture.name,
    }
    if made.teaching is not None:
        second = None if made.log_loss is None else _result_figures(made.log_loss)
        figures |= {"teaching": asdict(made.teaching), "log_loss": second}
    return dict(_finite(figures))


def _result_figures(result: BreakEven) -> dict[str, Any]:
    curves = [{"name": curve.name, "points": _points(curve.points)} for curve in result.curves]
    lines = [{"name": line.name, "labels": line.labels, **asdict(line.estimate)} for line in result.lines]
    contrasts = [{**asdict(one), "differences": _points(one.differences)} for one in result.contrasts]
    return {**asdict(result), "curves": curves, "lines": lines, "contrasts": contrasts}


def _points(points: Mapping[int, Estimate]) -> list[dict[str, Any]]:
    return [{"labels": size, **asdict(point)} for size, point in points.items()]


def _finite(value: Any) -> Any:
    """The same with None for infinity and NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _print(made: Measured) -> None:
    from harness.records.entries import TITLES
    from harness.reports.curve_page import CROSSING_COLUMNS, POINT_COLUMNS, crossing_rows, point_rows, sentence

    result, base = made.result, made.options.base
    title = TITLES.get(result.metric, result.metric)
    typer.echo(plain(f"\n{base.task}, {base.lang}: {title} on {result.n:,} rows"))
    columns = [name or title for name in POINT_COLUMNS]
    print_table(columns, point_rows(result), text=["backend"], optional=["seeds", columns[3]])
    if result.crossings:
        typer.echo("")
        print_table(CROSSING_COLUMNS, crossing_rows(result), text=CROSSING_COLUMNS[:3], optional=[CROSSING_COLUMNS[3]])
    typer.echo(plain(f"\n{sentence(result, base.lang)}"))
    if made.teaching is not None:
        from harness.reports.label_curve import sentences, tables

        for heading, (columns, rows) in tables(made):
            typer.echo(plain(f"\nHuman labels and those of {made.teaching.teacher}, by {heading}"))
            print_table(columns, rows, text=["trained"], optional=["human $", "LLM $"])
        typer.echo("")
        for line in sentences(made):
            typer.echo(plain(line))
