"""`bench study curve`: quality against training-set size, and where a trained backend overtakes a prompted one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    Json,
    Many,
    catalog,
    names,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
    write_page,
)
from harness.cli.requests import budget_of, completed, member
from harness.cli.run_options import completion, takes_run_options
from harness.core.options import ExecutionOptions, RunOptions
from harness.core.plain import plain
from harness.specs.asked import Asked, check_data, check_fit, is_prompted, read_option

if TYPE_CHECKING:
    from harness.core.types import Calibration
    from harness.specs.catalog import Catalog
    from harness.studies.curve import CurveOptions, Measured

DEFAULT_SIZES = ["8", "16", "...", "all"]
HELP = {
    "lang": "Draw a curve for each language; default: all of the task's.",
    "prompt": "Prompt, a line each; fewshot+batch adds batch calibration. Default: the zero-shot prompt and fewshot.",
    "seed": "Seeds; each draws its own labels and few-shot examples.",
}
Encoder = Annotated[
    Many, typer.Option(metavar="NAME", help="Backend that trains: one curve each.", autocompletion=completion("backend"))
]
Llm = Annotated[
    Many, typer.Option(metavar="NAME", help="Backend that is prompted: one line each.", autocompletion=completion("backend"))
]
Sizes = Annotated[Many, typer.Option(metavar="N", help="Numbers of labels; `...` continues the ratio. Default: 8,16,...,all.")]
LlmSeed = Annotated[Many, typer.Option(metavar="N", help="Seeds of the few-shot examples; default: those of --seed.")]
Metric = Annotated[str | None, typer.Option(metavar="NAME", help="Metric; default: the task's first headline metric.")]
MinSteps = Annotated[int, typer.Option(min=1, metavar="N", help="Train at least N steps, with more epochs if needed.")]


@takes_run_options(
    *("task", "lang", "prompt", "decoding", "settings", "seed", "limit", "data"),
    *ExecutionOptions.model_fields,
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
    as_json: Json = False,
) -> None:
    """Plot quality against training-set size.

    Reports where fine-tuning overtakes prompting. Each point is a run as `bench run --resample-train --validation-limit 0`
    makes it. A recorded run is not repeated, and a stopped one continues: repeat the command. Writes a page, a plot and the
    figures to curves/ in the folder of results.

    --json prints a list with an object per language: sentence, task, lang, metric, n, curves (name, points: labels, value, low,
    high, by_seed), lines (name, labels, value, low, high, by_seed), crossings (curve, line, labels, low, high; 0: from the
    smallest number on, null: not up to the largest; never: share of the resamples), runs, page, picture.
    """
    from harness.cli.execute_runs import run_all, tracking_with
    from harness.studies.curve import CurveOptions, measured

    known = catalog(execution.trust_metric_code)
    trained, prompted = names(encoder, "--encoder"), names(llm, "--llm")
    _check_backends(known, trained, prompted, asked)
    store = open_store(execution.results)
    asked = completed(asked.changed(backend=[*trained, *prompted]), known, store)
    check_data(asked.one("data"))
    chosen = _chosen(known, asked.one("task"), metric)
    first = CurveOptions(
        base=asked.base(task=asked.one("task"), limit=asked.one("limit")),
        encoders=trained,
        llms=prompted,
        sizes=[],
        seeds=asked.many("seed"),
        llm_seeds=asked.many("seed") if llm_seed is None else read_option("seed", llm_seed),
        prompts=_lines(asked.many("prompt")),
        decodings=asked.many("decoding") or [None],
        min_steps=min_steps,
    )
    plans = _plans(known, first, asked.many("lang"), names(sizes, "--sizes") or DEFAULT_SIZES)
    runs = [run for _, runs in plans for run in runs]
    check_fit(known, runs)
    budget = budget_of(execution, known, [*trained, *prompted], None)
    with tracking_with(execution) as series:
        outcomes, stopped = run_all(known, runs, store, execution, budget)
    if not stopped:
        done = [(outcome.options, outcome.run_id) for outcome in outcomes if outcome.run_id]
        found = [made for curve, _ in plans if (made := measured(curve, done, store, chosen))]
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
        plans.append((curve, runs_of(curve, known, available)))
    return plans


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
        if is_prompted(known, name):
            raise UserError(f"--encoder {name}: this backend is prompted, not trained.", f"For a line: --llm {name}")
    for name in prompted:
        if not is_prompted(known, name):
            raise UserError(f"--llm {name}: this backend is trained, not prompted.", f"For a curve: --encoder {name}")
    if not prompted and (asked.many("prompt") or asked.many("decoding")):
        raise UserError("--prompt and --decoding need --llm.", "Name a backend that is prompted.")


def _lines(prompts: Sequence[str]) -> list[tuple[str, Calibration | None]]:
    """`strict,fewshot+batch`: the one as it is, the other with batch calibration."""
    from harness.core.types import Calibration

    parts = [text.partition("+") for text in prompts]
    return [(name, member(Calibration, calibration) if plus else None) for name, plus, calibration in parts]


def _chosen(known: Catalog, task: str, metric: str | None) -> str:
    """The metric; a wrong name is found before the first model trains."""
    from harness.core.errors import UserError
    from harness.statistics.metrics import HEADLINES
    from harness.statistics.row_means import known_metrics

    kind = known.task(task).labels.kind
    offered = known_metrics(kind, probable=True)
    if metric is not None and metric not in offered:
        raise UserError(f"--metric {metric}: not available as a curve for {kind} labels.", f"Known: {', '.join(offered)}.")
    return metric or HEADLINES[kind][0]


def _write(made: Measured, results: Path) -> dict[str, Any]:
    """Write the page, the plot and the figures; the figures."""
    from harness.core.json_files import pretty_json, sealed, write_atomically
    from harness.reports.curve_page import markdown, svg

    base, result = made.options.base, made.result
    page, picture = write_page(
        results / "curves",
        _stem(made.options, result.metric),
        lambda picture: markdown(result, base.task, base.lang, picture),
        lambda: svg(result, base.task, base.lang),
    )
    figures = _figures(made, page, picture)
    write_atomically(page.with_suffix(".json"), pretty_json(sealed(figures)))
    return figures


def _stem(curve: CurveOptions, metric: str) -> str:
    """A readable file name; other settings give another one. A curve with more sizes or seeds replaces the smaller one."""
    from harness.core.file_names import own_stem
    from harness.core.json_files import digest

    backends = [*curve.encoders, "vs", *curve.llms] if curve.llms else curve.encoders
    base, prompts = curve.base, [list(pair) for pair in curve.prompts]
    settings = digest([prompts, list(curve.decodings), curve.min_steps, dict(base.settings), base.limit])
    return f"{own_stem([base.task, base.lang, *backends, metric])}-{settings[:8]}"


def _figures(made: Measured, page: Path, picture: Path | None) -> dict[str, Any]:
    from harness.reports.curve_page import sentence

    result, base = made.result, made.options.base
    curves = [
        {"name": curve.name, "points": [{"labels": size, **asdict(point)} for size, point in curve.points.items()]}
        for curve in result.curves
    ]
    lines = [{"name": line.name, "labels": line.labels, **asdict(line.estimate)} for line in result.lines]
    figures = {
        "sentence": sentence(result, base.lang),
        "task": base.task,
        "lang": base.lang,
        **asdict(result),
        "curves": curves,
        "lines": lines,
        "runs": made.run_ids,
        "page": page.name,
        "picture": picture and picture.name,
    }
    return dict(_finite(figures))


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
