"""`bench study curve`: quality against the number of labels, and where a trained backend passes a prompted one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Limit,
    Many,
    NoGate,
    Quiet,
    Results,
    Settings,
    Task,
    Track,
    TrustMetricCode,
    Verbose,
    catalog,
    check_data,
    names,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
)
from harness.cli.requests import check_fit, is_prompted, member, settings_from, task_or_default
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.core.options import RunOptions
    from harness.core.types import Calibration
    from harness.specs.catalog import Catalog
    from harness.studies.curve import Measured, Wanted


def curve_command(
    encoder: Annotated[Many, typer.Option(metavar="NAME", help="Backend that trains; repeat or separate by commas.")] = None,
    llm: Annotated[Many, typer.Option(metavar="NAME", help="Backend that is prompted: a line to pass.")] = None,
    task: Task = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="A curve for each language; default: all of the task's.")] = None,
    sizes: Annotated[
        Many, typer.Option(metavar="N", help="Numbers of labels: 8,16,...,all (`...` goes on as the two before it).")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many seeds; each draws its own labels and exemplars.")
    ] = 5,
    llm_seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Draw exemplars by so many of the seeds only; default: by all.")
    ] = None,
    prompt: Annotated[
        Many,
        typer.Option(
            metavar="NAME", help="Prompt, each a line; fewshot+batch calibrates it. Default: the zero-shot one and fewshot."
        ),
    ] = None,
    decoding: Annotated[
        Many, typer.Option(metavar="HOW", help="free, constrained or score; default: the prompt's own.")
    ] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="Default: the task's first headline metric.")] = None,
    min_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Train for more epochs where the labels give fewer steps.")
    ] = 100,
    setting: Settings = None,
    limit: Limit = None,
    data: Data = None,
    trust_metric_code: TrustMetricCode = False,
    force: Annotated[bool, typer.Option("--force", help="Repeat the runs although they are there.")] = False,
    no_gate: NoGate = False,
    results: Results = RESULTS,
    track: Track = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Train on more and more labels, and say from how many on that is better than prompting.

    Each point is a run as `bench run --draw --validation-limit 0` makes it: recorded ones are not repeated, and a stopped
    command goes on. Writes a page, a plot and the figures to curves/ in the folder of results.

    --json prints a list with an object per language: sentence, task, lang, metric, n, curves (name, points: labels, value, low,
    high, by_seed), lines (name, labels, value, low, high, by_seed), crossings (curve, line, labels, low, high; 0: from the
    smallest number on, null: not up to the largest; never: share of the resamples), runs, page, picture.
    """
    from harness.cli.execute_runs import exit_if_interrupted, exit_with, run_all, tracking_with
    from harness.core.errors import UserError
    from harness.core.types import Decoding
    from harness.studies.curve import Wanted, measured

    verbosity.begin(quiet, verbose)
    known = catalog(trust_metric_code)
    task = task_or_default(known, task)
    trained, prompted = names(encoder, "--encoder"), names(llm, "--llm")
    _check_contestants(known, trained, prompted)
    check_data(data)
    chosen = _chosen(known, task, metric)
    if not prompted and (prompt or decoding):
        raise UserError("--prompt and --decoding are of lines, and there is no --llm.", "Name a backend that is prompted.")
    lines = _lines(prompt)
    alike = Wanted(
        task=task,
        lang="",
        encoders=trained,
        llms=prompted,
        sizes=[],
        seeds=range(seeds),
        prompts=lines,
        decodings=[member(Decoding, name) for name in names(decoding, "--decoding")] or [None],
        min_steps=min_steps,
        llm_seeds=llm_seeds,
        settings=settings_from(setting),
        limit=limit,
        data_dir=data,
    )
    plans = _plans(known, alike, names(lang, "--lang"), names(sizes, "--sizes") or ["8", "16", "...", "all"])
    requests = [request for _, requests in plans for request in requests]
    check_fit(known, requests, [name for name, _ in lines])
    store = open_store(results)
    with tracking_with(track, results) as series:
        outcomes, stopped = run_all(known, requests, store, force, None, gate=not no_gate)
    if not stopped:
        runs = [(done.request, done.run_id) for done in outcomes if done.run_id]
        found = [made for wanted, _ in plans if (made := measured(wanted, runs, store, chosen))]
        _show(found, results, as_json, lost=len(outcomes) - len(runs), of=len(outcomes))
    series.print_summary(outcomes)
    exit_if_interrupted(stopped)
    exit_with(done.error for done in outcomes)


def _plans(known: Catalog, alike: Wanted, langs: Sequence[str], sizes: Sequence[str]) -> list[tuple[Wanted, list[RunOptions]]]:
    """A curve for each language, and its runs."""
    from harness.studies.curve import available_labels, check_settings, requests_of, sizes_of

    plans = []
    for language in langs or known.task(alike.task).languages:
        available = available_labels(known.task(alike.task), language, alike.data_dir)
        wanted = replace(alike, lang=language, sizes=sizes_of(sizes, available))
        check_settings(wanted, known)
        plans.append((wanted, requests_of(wanted, known, available)))
    return plans


def _show(found: Sequence[Measured], results: Path, as_json: bool, lost: int, of: int) -> None:
    """Write the curves, and print them."""
    if not found:
        return
    written = [_write(made, results) for made in found]
    with tolerate_broken_pipe():
        if as_json:
            print_json([_as_json(made, *paths) for made, paths in zip(found, written, strict=True)])
        else:
            for made in found:
                _print(made)
    if lost:
        typer.echo(plain(f"note: {lost} of {of} runs failed; a point is the mean of those that are there."), err=True)
    for page, picture in written:
        verbosity.note(f"Written: {page}" + (f", {picture}" if picture else ""))


def _check_contestants(known: Catalog, trained: Sequence[str], prompted: Sequence[str]) -> None:
    from harness.core.errors import UserError

    if not trained:
        raise UserError("A curve needs a backend that trains.", "Name one or more with --encoder.")
    for name in trained:
        if is_prompted(known, name):
            raise UserError(f"--encoder {name}: it is prompted, so there is no curve of it.", f"A line is: --llm {name}")
    for name in prompted:
        if not is_prompted(known, name):
            raise UserError(f"--llm {name}: it is trained, and has no prompt.", f"A curve is: --encoder {name}")


def _lines(prompt: Many) -> list[tuple[str, Calibration | None]]:
    """`strict,fewshot+batch`: the one as it is, the other with batch calibration."""
    from harness.core.types import Calibration

    parts = [text.partition("+") for text in names(prompt, "--prompt")]
    return [(name, member(Calibration, calibration) if plus else None) for name, plus, calibration in parts]


def _chosen(known: Catalog, task: str, metric: str | None) -> str:
    """A slip is found before the first model trains."""
    from harness.core.errors import UserError
    from harness.statistics.metrics import HEADLINES
    from harness.statistics.row_means import known_metrics

    kind = known.task(task).labels.kind
    offered = known_metrics(kind, probable=True)
    if metric is not None and metric not in offered:
        raise UserError(f"--metric {metric}: there is no curve of that for {kind} labels.", f"Known: {', '.join(offered)}.")
    return metric or HEADLINES[kind][0]


def _write(made: Measured, results: Path) -> tuple[Path, Path | None]:
    """The page and the figures, and the plot beside them where the extra `charts` is installed."""
    from harness.core.errors import MissingExtra
    from harness.core.json_files import pretty_json, sealed, write_atomically
    from harness.reports.curve_page import markdown
    from harness.reports.curve_plot import svg

    folder = results / "curves"
    folder.mkdir(parents=True, exist_ok=True)
    wanted, result = made.wanted, made.result
    stem = _stem(wanted, result.metric)
    page, picture = folder / f"{stem}.md", folder / f"{stem}.svg"
    try:
        write_atomically(picture, svg(result, wanted.task, wanted.lang).decode())
        drawn = True
    except MissingExtra as error:
        picture.unlink(missing_ok=True)  # that of an earlier curve would stand beside this page
        verbosity.note(f"note: no plot. {error} {error.hint}")
        drawn = False
    write_atomically(page, markdown(result, wanted.task, wanted.lang, picture.name if drawn else None))
    figures = _as_json(made, page, picture if drawn else None)
    write_atomically(folder / f"{stem}.json", pretty_json(sealed(figures)))
    return page, picture if drawn else None


def _stem(wanted: Wanted, metric: str) -> str:
    """Readable, and unlike that of a curve with other settings; one with more sizes or seeds takes the place of the smaller."""
    from harness.core.file_names import own_stem
    from harness.core.json_files import digest

    contestants = [*wanted.encoders, "vs", *wanted.llms] if wanted.llms else wanted.encoders
    prompts = [[name, calibration] for name, calibration in wanted.prompts]
    settings = digest([prompts, list(wanted.decodings), wanted.min_steps, dict(wanted.settings), wanted.limit])
    return f"{own_stem([wanted.task, wanted.lang, *contestants, metric])}-{settings[:8]}"


def _as_json(made: Measured, page: Path, picture: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    from harness.reports.curve_page import sentence

    result, wanted = made.result, made.wanted
    curves = [
        {"name": curve.name, "points": [{"labels": size, **_finite(asdict(point))} for size, point in curve.points.items()]}
        for curve in result.curves
    ]
    lines = [{"name": line.name, "labels": line.labels, **_finite(asdict(line.estimate))} for line in result.lines]
    crossings = [_finite(asdict(found)) for found in result.crossings]
    return {
        "sentence": sentence(result, wanted.lang),
        "task": wanted.task,
        "lang": wanted.lang,
        "metric": result.metric,
        "n": result.n,
        "curves": curves,
        "lines": lines,
        "crossings": crossings,
        "runs": made.run_ids,
        "page": page.name,
        "picture": picture and picture.name,
    }


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    """None for what strict JSON has no word for."""
    from math import isfinite

    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in figures.items()}


def _print(made: Measured) -> None:
    from harness.records.entries import TITLES
    from harness.reports.curve_page import CROSSING_COLUMNS, POINT_COLUMNS, crossing_rows, point_rows, sentence

    result, wanted = made.result, made.wanted
    title = TITLES.get(result.metric, result.metric)
    typer.echo(plain(f"\n{wanted.task}, {wanted.lang}: {title} on {result.n:,} rows"))
    columns = [name or title for name in POINT_COLUMNS]
    print_table(columns, point_rows(result), text=["backend"], optional=["seeds", columns[3]])
    if result.crossings:
        typer.echo("")
        print_table(CROSSING_COLUMNS, crossing_rows(result), text=CROSSING_COLUMNS[:3], optional=[CROSSING_COLUMNS[3]])
    typer.echo(plain(f"\n{sentence(result, wanted.lang)}"))
