"""`bench analyze cost`: what the predictions of recorded runs cost, with training and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Many, Results, finite_number, names, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.pricing import Cost
    from harness.records.entries import Entry
    from harness.records.store import Store
    from harness.specs.prices import Prices

Priced = list[tuple["Entry", "Cost | None"]]
PARTS = ("inference", "training", "labelling")


def cost_command(
    run: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs; the digits of their ids will do. Default: all.")
    ] = None,
    predictions: Annotated[
        float, typer.Option(metavar="N", help="Predictions that share the cost of training and labels.")
    ] = 1e6,
    label_usd: Annotated[float, typer.Option(metavar="USD", help="What a label costs: a person's time, say.")] = 0,
    hardware: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Count the measured time at the price of this entry of prices.yaml."),
    ] = None,
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of this task.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only runs in this language.")] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Only runs on these rows, test or validation; a RUN is always shown.")
    ] = "test",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Price recorded runs: their time at the price of the machine, or an API's tokens at its price, with training and labels.

    Cheapest first within each task and language. Named runs are shown whatever their rows are, else those on test rows.

    Prices come with bench, each with its date and source; a prices.yaml in your folder adds to them and overrides them.

    --json prints an object with predictions, label_usd, hardware, sentence, and runs: a list of run, task, split, lang,
    backend, how, n, labels, inference, training, labelling, total (US dollars per 1,000 rows), usd (in all), basis, under_load,
    problem (why there is no price, or null).
    """
    from harness.analysis.pricing import cost_of
    from harness.cli.requests import check_split
    from harness.specs.prices import load_prices

    check_split(split)
    _check(predictions, "--predictions", 0, strictly=True)
    _check(label_usd, "--label-usd", 0, strictly=False)
    prices = load_prices(Path.cwd())
    entries = _entries(open_store(results), run, split, names(task, "--task"), names(lang, "--lang"))
    priced: Priced = [(entry, cost_of(entry.manifest, prices, predictions, label_usd, hardware)) for entry in entries]
    priced.sort(key=lambda pair: (*_place(pair[0]), math.inf if pair[1] is None else pair[1].total, pair[0].run_id))
    said = sentence(priced, predictions)
    if as_json:
        asked = {"predictions": predictions, "label_usd": label_usd, "hardware": hardware}
        print_json({**asked, "sentence": said, "runs": [_as_json(entry, cost, prices) for entry, cost in priced]})
    else:
        _print(priced)
        typer.echo(plain(said))
    _notes(priced, prices, label_usd, hardware)


def _check(number: float, option: str, least: float, *, strictly: bool) -> None:
    from harness.core.errors import UserError

    finite_number(number, option)
    if number < least or (strictly and number == least):
        raise UserError(
            f"{option} {number:g}: it must be {'more than' if strictly else 'at least'} {least:g}.", "For example: 1e6"
        )


def _place(entry: Entry) -> tuple[str, str]:
    """Task and language: within these the cheapest is looked for."""
    return entry.group[0], entry.group[2]


def _entries(store: Store, runs: Many, split: str, tasks: list[str], langs: list[str]) -> list[Entry]:
    """The named runs, else those on the rows of `split`; of these tasks and languages (none: of any)."""
    from harness.core.errors import UserError
    from harness.records.entries import read_entries, read_entry, with_models

    if runs:
        found = with_models([read_entry(store, name) for name in dict.fromkeys(store.find(part) for part in runs)])
    else:
        found = read_entries(store)
    if not found:
        raise UserError(f"There are no runs in {store.root}.", "Begin with `bench run`, or name the folder: --results DIR.")
    kept = [
        entry
        for entry in found
        if (runs or entry.group[1] == split)
        and (not tasks or entry.group[0] in tasks)
        and (not langs or entry.group[2] in langs)
    ]
    if not kept:
        there = ", ".join(" ".join(group) for group in sorted({(*_place(entry), entry.group[1]) for entry in found}))
        raise UserError("No run is of that task, language and split.", f"There are: {there}.")
    return kept


def _as_json(entry: Entry, cost: Cost | None, prices: Prices) -> dict[str, Any]:
    from harness.analysis.pricing import labels_of, missing_price

    task, split, lang, _ = entry.group
    figures = ("inference", "training", "labelling", "total", "usd", "basis", "under_load")
    return {
        "run": entry.run_id,
        "task": task,
        "split": split,
        "lang": lang,
        "backend": entry.backend,
        "how": entry.how,
        "n": entry.manifest["n"],
        "labels": labels_of(entry.manifest),
        **{name: None if cost is None else getattr(cost, name) for name in figures},
        "problem": missing_price(entry.manifest, prices) if cost is None else None,
    }


def _print(priced: Priced) -> None:
    within = " within each task and language" if len({_place(entry) for entry, _ in priced}) > 1 else ""
    typer.echo(plain(f"US dollars per 1,000 rows, and in all; cheapest first{within}"), err=True)
    splits = len({entry.group[1] for entry, _ in priced}) > 1
    hows = _hows([entry for entry, _ in priced])
    columns = ["task", "lang", *(["split"] if splits else []), "backend", "how", *PARTS, "total", "in all", "load", "run"]
    rows = [
        [
            entry.group[0],
            entry.group[2],
            *([entry.group[1]] if splits else []),
            entry.display_name,
            hows[entry.run_id],
            *(["-"] * 5 if cost is None else [*(usd(getattr(cost, part)) for part in (*PARTS, "total")), usd(cost.usd)]),
            "high" if cost is not None and cost.under_load else "",
            entry.run_id.rpartition(".")[2],
        ]
        for entry, cost in priced
    ]
    same = [name for name in ("task", "lang") if len({row[columns.index(name)] for row in rows}) == 1]
    print_table(columns, rows, text=["how"], optional=[*same, "load", "training", "task"])


def _hows(entries: Sequence[Entry]) -> dict[str, str]:
    """By the id of the run: how it was made, told apart from the others of its task, split and language."""
    from harness.records.names import told_apart

    found: dict[str, str] = {}
    for group in {entry.group[:3] for entry in entries}:
        members = [entry for entry in entries if entry.group[:3] == group]
        words = told_apart([[entry] for entry in members], [entry.how for entry in members])
        found |= {entry.run_id: how for entry, how in zip(members, words, strict=True)}
    return found


def usd(value: float) -> str:
    """Two decimals, or three digits of what is less than a dollar."""
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.3g}" if value >= 1e-4 else f"{value:.1e}"


def sentence(priced: Priced, predictions: float) -> str:
    """What the runs of each backend cost, cheapest first, and what that is made of."""
    from harness.reports.text.compare import listed

    with_cost = [(entry, cost) for entry, cost in priced if cost is not None]
    if not with_cost:
        return "None of these runs has a price."
    several = len({_place(entry) for entry, _ in with_cost}) > 1
    by_name: dict[str, list[Cost]] = {}
    for entry, cost in sorted(with_cost, key=lambda pair: pair[1].total):
        name = f"{entry.display_name} ({' '.join(_place(entry))})" if several else entry.display_name
        by_name.setdefault(name, []).append(cost)
    shown = list(by_name.items())[:6]
    said = [_range(name, costs, "costs " if not n else "") for n, (name, costs) in enumerate(shown)]
    more = " (the others are in the table)" if len(by_name) > len(shown) else ""
    named = dict.fromkeys(_made_of(name, costs[end]) for name, costs, end in ((*shown[0], 0), (*shown[-1], -1)))
    return f"For {predictions:,.0f} predictions {listed(said)}{more}; {' and '.join(named)}."


def _range(name: str, costs: list[Cost], verb: str) -> str:
    if len(costs) == 1:
        return f"{name} {verb}${usd(costs[0].usd)} in all"
    return f"{name} {verb}${usd(costs[0].usd)} to ${usd(costs[-1].usd)} in all ({len(costs)} runs)"


def _made_of(name: str, cost: Cost) -> str:
    """Its largest part."""
    if not cost.total:
        return f"{name} costs nothing at these prices"
    part = max(PARTS, key=lambda part: float(getattr(cost, part)))
    return f"{part} is {getattr(cost, part) / cost.total:.0%} of the ${usd(cost.usd)} of {name}"


def _notes(priced: Priced, prices: Prices, label_usd: float, hardware: str | None) -> None:
    """What the figures leave out, or rest on; on stderr."""
    from harness.analysis.pricing import missing_price

    costs = [cost for _, cost in priced if cost is not None]
    for problem in dict.fromkeys(missing_price(entry.manifest, prices) for entry, cost in priced if cost is None):
        typer.echo(plain(f"note: {problem}"), err=True)
    if not label_usd and any(cost.labels for cost in costs):
        typer.echo("note: labels are counted as free: say what one costs with --label-usd", err=True)
    if hardware is not None:
        typer.echo(
            plain(f"note: times are those of the machines that they were measured on, at the price of {hardware}"), err=True
        )
    loaded = sum(cost.under_load for cost in costs)
    if loaded:
        typer.echo(
            plain(f"note: {loaded} of {len(costs)} runs were measured under load (more to do than cores): they cost less"),
            err=True,
        )
