"""`bench prompts spread`: how much a result depends on its prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Many, Results, names, open_store, plain, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.spread import Spread
    from harness.records.entries import Entry

MetricName = Annotated[str | None, typer.Option(metavar="NAME", help="Metric; default: what the leaderboard ranks by.")]


def spread_command(
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only these tasks.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only these languages.")] = None,
    backend: Annotated[Many, typer.Option(metavar="NAME", help="Only these backends.")] = None,
    metric: MetricName = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Tell how much a model's result depends on its prompt, from the recorded runs.

    A row for each model, decoding and calibration that was run with two prompts or more on the same rows. A prompt's value is
    the mean over its seeds. `by chance` is the range that the sampling of rows (and of few-shot examples, with several seeds)
    alone would give if all prompts were equally good; * marks a range above that at the 5% level. The last columns split the
    variance: standard deviation between prompts, between the seeds that drew few-shot examples (if there are several), and of
    the sampling of rows.

    --json prints an object with sentence and spreads: task, split, lang, rows, n, backend, how, metric, prompts (name,
    examples, value, unparsed, runs; best first), low, median, high, range, by_chance, beyond_chance, interval (of the
    sampling of rows, for the median prompt: low, high), sd_prompts, sd_seeds, sd_sampling.
    """
    from harness.analysis.spread import influences_of, spreads
    from harness.records.entries import read_entries

    store = open_store(results)
    filters = {"task": names(task, "--task"), "lang": names(lang, "--lang"), "backend": names(backend, "--backend")}
    wanted = _wanted(read_entries(store), filters)
    found = spreads(wanted, influences_of(store, metric), metric)
    if not found:
        _none_found(wanted, metric)
    sentence = max(found, key=lambda spread: (spread.beyond, spread.range)).sentence
    if as_json:
        print_json({"sentence": sentence, "spreads": [_as_json(spread) for spread in found]})
        return
    _print(found)
    typer.echo(plain(f"\n{sentence}"))


def _wanted(entries: Sequence[Entry], filters: dict[str, list[str]]) -> list[Entry]:
    """Raises `UserError` for a filter that no prompted run passes."""
    from harness.core.errors import UnknownName, UserError

    left = [entry for entry in entries if entry.manifest["identity"]["prompt"]]
    if not left:
        raise UserError(
            "No run with a prompt is recorded.", "Begin with `bench run --backend smollm2 --prompt strict,fewshot`."
        )
    for what, chosen in filters.items():
        there = {_value(entry, what) for entry in left}
        for name in chosen:
            if name not in there:
                raise UnknownName(f"{what} with prompted runs here", name, there)
        left = [entry for entry in left if not chosen or _value(entry, what) in chosen]
    return left


def _value(entry: Entry, what: str) -> str:
    return entry.backend if what == "backend" else str(entry.manifest["identity"][what])


def _none_found(entries: Sequence[Entry], metric: str | None) -> None:
    from harness.core.errors import UnknownName, UserError

    known = {name for entry in entries for name in entry.metrics["values"]}
    if metric is not None and metric not in known:
        raise UnknownName("metric of these runs", metric, known)
    raise UserError(
        "No model was run with two prompts on the same rows, and in the same way otherwise.",
        "Run it with several: `bench run --backend NAME --prompt strict,fewshot --decoding score`.",
    )


def _print(found: Sequence[Spread]) -> None:
    from harness.reports.tables import spread_cells, spread_columns

    seeds = any(spread.sd_seeds is not None for spread in found)
    columns = ["task", "lang", "n", "metric", *spread_columns(""), "sd prompts", *(["sd seeds"] if seeds else []), "sd rows"]
    columns[columns.index(" over prompts")] = "over prompts"
    rows = []
    for spread in found:
        of_seeds = "–" if spread.sd_seeds is None else f"{spread.sd_seeds:.3f}"
        parts = [f"{spread.sd_prompts:.3f}", *([of_seeds] if seeds else []), f"{spread.sd_sampling:.3f}"]
        rows.append([spread.group[0], spread.group[2], str(spread.n), spread.metric, *spread_cells(spread), *parts])
    same = [name for name in ("task", "metric", "n", "lang") if len({row[columns.index(name)] for row in rows}) == 1]
    parts = columns[columns.index("sd prompts") :]
    print_table(
        columns, rows, text=["how", "prompts"], optional=[*same, "95% of the median", *reversed(parts), "task", "metric"]
    )


def _as_json(spread: Spread) -> dict[str, Any]:
    value = spread.middle.row.entry.metrics["values"][spread.metric]
    task, split, lang, _ = spread.group
    return {
        **{"task": task, "split": split, "lang": lang, "rows": spread.middle.row.entry.manifest["identity"]["rows"]},
        **{"n": spread.n, "backend": spread.backend, "how": spread.how, "metric": spread.metric},
        "prompts": [
            {
                "name": prompt.name,
                "examples": prompt.examples,
                "value": prompt.value,
                "unparsed": prompt.unparsed,
                "runs": [run.run_id for run in prompt.row.runs],
            }
            for prompt in spread.prompts
        ],
        **{"low": spread.low, "median": spread.middle.value, "high": spread.high, "range": spread.range},
        **{"by_chance": spread.expected, "beyond_chance": spread.beyond},
        "interval": {"low": value["low"], "high": value["high"]},
        **{"sd_prompts": spread.sd_prompts, "sd_seeds": spread.sd_seeds, "sd_sampling": spread.sd_sampling},
    }
