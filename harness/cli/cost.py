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
Predictions = Annotated[float, typer.Option(metavar="N", help="Predictions that share the cost of training and labels.")]
LabelUsd = Annotated[float, typer.Option(metavar="USD", help="Price of a label: a person's time, for example.")]
Hardware = Annotated[str | None, typer.Option(metavar="NAME", help="Price the measured time by this entry of prices.yaml.")]


def priced_by(predictions: float, label_usd: float, hardware: str | None) -> Prices:
    """The prices, with the options of a command that counts costs checked. Raises `UserError`."""
    from harness.core.errors import UserError
    from harness.specs.prices import load_prices

    finite_number(predictions, "--predictions")
    finite_number(label_usd, "--label-usd")
    if predictions <= 0:
        raise UserError(f"--predictions {predictions:g}: it must be more than 0.", "For example: 1e6")
    if label_usd < 0:
        raise UserError(f"--label-usd {label_usd:g}: it must be at least 0.", "For example: 0.1")
    prices = load_prices(Path.cwd())
    if hardware is not None:
        prices.named(hardware)  # raises for a wrong name, even where no record needs it
    return prices


def cost_command(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Runs; the last digits of their ids are enough. Default: all."),
    ] = None,
    predictions: Predictions = 1e6,
    label_usd: LabelUsd = 0,
    hardware: Hardware = None,
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of this task.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only runs in this language.")] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Only runs on these rows, test or validation; a named RUN is always shown.")
    ] = "test",
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Price recorded runs, with training and labels.

    The price of a run is its time at the price of the machine, or an API's tokens at its price. Cheapest first within each task
    and language. Prices come with bench, each with its date and source; a prices.yaml in your folder adds to them and
    overrides them.

    --json prints an object with predictions, label_usd, hardware, sentence, and runs: a list of run, task, split, lang,
    backend, how, n, labels, inference, training, labelling, total (US dollars per 1,000 rows), usd (in all), basis, under_load,
    problem (why there is no price, or null).
    """
    from harness.analysis.pricing import cost_of, missing_price
    from harness.cli.requests import check_split
    from harness.reports.text.cost import sentence
    from harness.reports.text.recommend import measured_elsewhere

    check_split(split)
    prices = priced_by(predictions, label_usd, hardware)
    entries = _entries(open_store(results), run, split, names(task, "--task"), names(lang, "--lang"))
    priced: Priced = [(entry, cost_of(entry, prices, predictions, label_usd, hardware)) for entry in entries]
    priced.sort(key=lambda pair: (*_place(pair[0]), math.inf if pair[1] is None else pair[1].total, pair[0].run_id))
    if as_json:
        asked = {"predictions": predictions, "label_usd": label_usd, "hardware": hardware}
        runs = [_as_json(entry, cost, prices) for entry, cost in priced]
        print_json({**asked, "sentence": sentence(priced, predictions), "runs": runs})
    else:
        _print(priced)
        typer.echo(plain(sentence(priced, predictions)))
    costs = [cost for _, cost in priced if cost is not None]
    notes = list(dict.fromkeys(missing_price(entry.record, prices) for entry, cost in priced if cost is None))
    if not label_usd and any(cost.labels for cost in costs):
        notes.append("labels are counted as free: give their price with --label-usd")
    if hardware is not None:
        notes.append(measured_elsewhere(hardware))
    if loaded := sum(cost.under_load for cost in costs):
        notes.append(f"{loaded} of {len(costs)} runs were measured under load, so their real cost is lower")
    for note in notes:
        typer.echo(plain(f"note: {note}"), err=True)


def _place(entry: Entry) -> tuple[str, str]:
    """Task and language."""
    return entry.group[0], entry.group[2]


def _entries(store: Store, runs: Many, split: str, tasks: list[str], langs: list[str]) -> list[Entry]:
    """The named runs, else those on the rows of `split`; of these tasks and languages (none: of any)."""
    from harness.core.errors import UserError
    from harness.records.entries import read_entry, with_models
    from harness.records.index import intact_index

    if runs:
        found = with_models([read_entry(store, name) for name in dict.fromkeys(store.find(part) for part in runs)])
    else:
        found = intact_index(store).entries()
    if not found:
        raise UserError(f"There are no runs in {store.root}.", "Start with `bench run`, or name the folder: --results DIR.")
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

    figures = ("inference", "training", "labelling", "total", "usd", "basis", "under_load")
    return {
        "run": entry.run_id,
        **dict(zip(("task", "split", "lang"), entry.group, strict=False)),
        "backend": entry.backend,
        "how": entry.how,
        "n": entry.record.n,
        "labels": labels_of(entry.record),
        **{name: None if cost is None else getattr(cost, name) for name in figures},
        "problem": missing_price(entry.record, prices) if cost is None else None,
    }


def _print(priced: Priced) -> None:
    from harness.analysis.pricing import PARTS
    from harness.reports.text.formats import usd

    within = " within each task and language" if len({_place(entry) for entry, _ in priced}) > 1 else ""
    typer.echo(plain(f"US dollars per 1,000 rows, and in all; cheapest first{within}"), err=True)
    splits = len({entry.group[1] for entry, _ in priced}) > 1
    hows = _hows([entry for entry, _ in priced])
    columns = ["task", "lang", *(["split"] if splits else []), "backend", "configuration"]
    columns += [*PARTS, "total", "in all", "load", "run"]
    rows = [
        [
            entry.group[0],
            entry.group[2],
            *([entry.group[1]] if splits else []),
            entry.display_name,
            hows[entry.run_id],
            *(["-"] * 5 if cost is None else [usd(getattr(cost, part))[1:] for part in (*PARTS, "total", "usd")]),
            "high" if cost is not None and cost.under_load else "",
            entry.run_id.rpartition(".")[2],
        ]
        for entry, cost in priced
    ]
    same = [name for name in ("task", "lang") if len({row[columns.index(name)] for row in rows}) == 1]
    print_table(columns, rows, text=["configuration"], optional=[*same, "load", "training", "task"])


def _hows(entries: Sequence[Entry]) -> dict[str, str]:
    """By the id of the run: how it was made, told apart from the others of its task, split and language."""
    from harness.records.names import told_apart

    found: dict[str, str] = {}
    for group in {entry.group[:3] for entry in entries}:
        members = [entry for entry in entries if entry.group[:3] == group]
        words = told_apart([[entry] for entry in members], [entry.how for entry in members])
        found |= {entry.run_id: how for entry, how in zip(members, words, strict=True)}
    return found
