"""From records, prices and reported figures to the model of the page: the same records give the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.findings import SHORT
from harness.analysis.lines import Line
from harness.analysis.pricing import cost_of, labels_of, missing_price
from harness.analysis.ranks import RankedEntry
from harness.core.json_files import digest
from harness.core.record import Cut, Machine
from harness.records.entries import Entry, Group, labels_told
from harness.records.latency import LatencyRecord, latency_of, load_latencies
from harness.records.sizes import prompted_sizes, size_of
from harness.records.store import Store
from harness.records.weights import used_precision, weights_told
from harness.reports.by_language import sections
from harness.reports.charts.boards import front_labels
from harness.reports.leaderboard import reported_cells
from harness.reports.page import model
from harness.reports.page.answer import decimal, interval
from harness.reports.page.answers import ALPHABET, Packed, common_limit, pack, runs_of
from harness.reports.page.budget import WHOLE, Budget
from harness.reports.page.columns import columns_of, declared, uses_of
from harness.reports.page.curves import read_curves
from harness.reports.page.details import LEAST, details, evaluations_of
from harness.reports.page.transfers import matrices
from harness.reports.tables import Table, leak_mark, spread_cells, spread_columns
from harness.reports.text.formats import title, usd
from harness.reports.words import hows, part
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.pareto import pareto_front

if TYPE_CHECKING:
    from harness.specs.prices import Prices
    from harness.specs.reported import Reported

PREDICTIONS = 1e6
"""Rows that share the cost of training: the default of `bench analyze cost`."""
UNKNOWN_COST = "the record does not hold what a price is made of (an earlier version of bench wrote it)"


def payload(
    store: Store,
    results: Path,
    tables: Sequence[Table],
    prices: Prices,
    reported: Sequence[Reported] = (),
    note: str = "",
    budget: Budget = WHOLE,
) -> model.Page:
    """What the page shows; `note` stands at its end.

    `results` is the folder that holds runs/, latency/ and curves/. Raises `RunError` for a record that is damaged.
    """
    latencies = load_latencies(results)
    packed = pack(store, tables, budget.answers, budget.ids, budget.pairs)
    keyed = {f"t{digest(table.group)[:12]}": table for table in tables}
    entries = [entry for table in tables for entry in runs_of(table)]
    most = max(LEAST, common_limit([(len(evaluations_of(entry)), 1) for entry in entries], budget.evaluations))
    return model.Page(
        bench=version("bench-harness"),
        tables=[_board(key, table, packed, prices, latencies) for key, table in keyed.items()],
        runs={entry.key: details(store, entry, packed.answers.get(entry.key), most) for entry in entries},
        columns=columns_of(uses_of(entries), [name for table in tables for name in table.first.record.metrics.headline]),
        terms=declared().terms,
        alphabet=ALPHABET,
        rowsets={
            key: packed.rows[name] for key, table in keyed.items() if (name := packed.row_sets[table.group]) in packed.rows
        },
        sections=list(sections_of(keyed)),
        matrices=matrices([entry for entry in entries if entry.among is None]),
        curves=read_curves(results),
        reported=sources(reported),
        note=note,
    )


def sources(reported: Sequence[Reported]) -> list[model.Source]:
    return [
        model.Source(name=found.name, source=found.source, note=found.note, lines=list(map(reported_cells, found.figures)))
        for found in reported
    ]


def _board(key: str, table: Table, packed: Packed, prices: Prices, latencies: Sequence[LatencyRecord]) -> model.Board:
    task, split, lang, _ = table.group
    record = table.first.record
    rows = [place.row for place in table.places]
    words = [how + leak_mark(row) for how, row in zip(hows(rows), rows, strict=True)]
    places = [_place(place, how, prices, latencies) for place, how in zip(table.places, words, strict=True)]
    if table.truncates:
        for found, place in zip(places, table.places, strict=True):
            _add_truncated(found, place.row.entry.record.cut)
    return model.Board(
        key=key,
        task=task if split == "test" else f"{task} ({split})",
        lang=lang,
        rows=packed.row_sets[table.group],
        n=record.metrics.n,
        size=table.size,
        multilabel=record.identity.label_kind == "multilabel",
        labels=record.identity.labels,
        headline=record.metrics.headline,
        metric=table.metric,
        few=table.few,
        prompted_sizes=prompted_sizes(place.row.entry for place in table.places),
        warnings=table.warnings,
        outdated=table.outdated,
        main=table.main,
        places=places,
        panels=panels(places),
        prompts=_prompts(table),
    )


def _place(place: RankedEntry, how: str, prices: Prices, latencies: Sequence[LatencyRecord]) -> model.Place:
    row, entry, record = place.row, place.row.entry, place.row.entry.record
    runs = sorted(row.runs, key=lambda run: run.seed)
    train, prompt, metrics = record.identity.train, record.identity.prompt, record.metrics
    load, cores = record.timing.load_average, record.machine.cores
    found = model.Place(
        rank=place.rank,
        tied=place.tied,
        backend=entry.display_name,
        how=how,
        size=size_of(entry),
        weights=weights_told(record) or None,
        made="prompted" if prompt is not None and train is None else "trained",
        engine=record.identity.backend.engine,
        run=entry.key,
        runs=[run.key for run in runs],
        seeds=row.seeds,
        one_seed=row.is_single,
        values={name: (found.value, found.low, found.high) for name in metrics.values if (found := row.estimate(name))},
        over_seeds=row.spread(metrics.headline[0]),
        unparsed=row.share("unparsed") or (0.0 if prompt else None),
        failed=row.share("failed") or (0.0 if prompt else None),
        tested_on=entry.tested_on,
        rate=record.timing.rows_per_second,
        train_count=None if train is None else train.train_count,
        train_langs=None if train is None else " + ".join(train.langs),
        machine=_machine(record.machine),
        load=load,
        busy=load is not None and cores is not None and load > cores,
        finished=(record.finished or "")[:10] or None,
    )
    if len(runs) > 1:
        found.by_seed = {name: [run.record.metrics.values[name].value for run in runs] for name in metrics.headline}
    if place.finding is not None:
        found.finding = SHORT[place.finding.kind]
        found.notes["finding"] = place.finding.message
    found.facts = list(_facts(found, entry, _add_cost(found, entry, prices), _add_latency(found, entry, latencies)))
    return found


def _add_truncated(place: model.Place, cut: Cut | None) -> None:
    if cut is not None:
        place.truncated = cut.share
        place.notes["truncated"] = f"{part(cut.tokens_lost_share)} of all tokens are lost"


def _add_cost(place: model.Place, entry: Entry, prices: Prices) -> str:
    """US dollars per 1,000 rows as `bench analyze cost` has them, or why there is no price; and the labels.

    Returns the cost and its parts in words.
    """
    record, train = entry.record, entry.record.identity.train
    if train is not None and record.training is None:
        place.notes["cost"] = UNKNOWN_COST
        return ""
    if train is None or train.continued_from is None:  # else the first training's labels are not in its record
        place.labelled = labels_of(record)
    cost = cost_of(entry, prices, PREDICTIONS, 0)
    place.notes["cost"] = missing_price(record, prices) if cost is None else cost.basis
    if cost is None:
        return ""
    place.cost, place.texts["cost"] = cost.total, usd(cost.total)
    parts = f": inference {usd(cost.inference)}, training {usd(cost.training)}" if cost.training else ""
    return f"{usd(cost.total)}{'†' if place.busy else ''}{parts}"


def _add_latency(place: model.Place, entry: Entry, latencies: Sequence[LatencyRecord]) -> str:
    """In words, with the median; empty where it was not measured."""
    found = latency_of(entry.record, latencies)
    if found is None or found.p50_ms is None:
        return ""
    place.p95_ms = found.p95_ms
    basis = f"{found.n:,} rows, one at a time, on {_machine(found.machine)}"
    place.notes["p95_ms"] = basis
    most = "" if place.p95_ms is None else f", 95% within {place.p95_ms:,.1f} ms"
    return f"50% within {found.p50_ms:,.1f} ms{most} ({basis})"


def _facts(place: model.Place, entry: Entry, cost: str, latency: str) -> Iterator[tuple[str, str]]:
    """What the details of a run list before its settings."""
    identity = entry.record.identity
    train, prompt, checkpoint = identity.train, identity.prompt, entry.checkpoint
    busy = "†" if place.busy else ""
    facts: Mapping[str, object] = {
        "engine": place.engine,
        "model": identity.backend.model,
        "size": place.size,
        "base model": checkpoint.base,
        "weights stored in": checkpoint.stored,
        "weights used in": checkpoint.stored and used_precision(entry.record),
        "prompt": prompt and prompt.name + (f".{prompt.variant}" if prompt.variant else ""),
        "decoding": prompt and str(prompt.decoding),
        "few-shot examples": prompt and prompt.examples,
        "training languages": train and ", ".join(train.langs),
        "validation languages": train and ", ".join(train.validated_langs),
        "training rows": train and f"{train.train_count:,}",
        "training labels": train and train.labels_from and labels_told(train.labels_from),
        "labels used": None if place.labelled is None else f"{place.labelled:,}",
        "machine": place.machine,
        "load when it ended": place.load,
        "rows/s": place.rate and f"{place.rate:,.1f}{busy}",
        "latency of one row": latency,
        "cost per 1,000 rows": cost,
        "cost is based on": place.notes["cost"],
        "†": place.rate and busy and "the machine was busy: the rate is too low, and a cost based on time too high",
        "finished": entry.record.finished,
    }
    for name, value in facts.items():
        if value is not None and value is not False and value != "":
            yield name, str(value)


def _machine(machine: Machine) -> str:
    cores = f", {machine.cores} core{'' if machine.cores == 1 else 's'}" if machine.cores else ""
    return machine.gpu or f"{machine.cpu or 'unknown'}{cores}"


def panels(places: Sequence[model.Place]) -> list[model.Panel]:
    """Cost, then the rates of each machine, the one of most entries first."""
    machines = Counter(place.machine for place in places if place.rate is not None)
    rates = [
        model.Panel(axis="rate", machine=name, fronts=_fronts([p for p in places if p.machine == name], places, "rate"))
        for name, _ in machines.most_common()
    ]
    return [model.Panel(axis="cost", fronts=_fronts(places, places, "cost")), *rates]


def _fronts(members: Sequence[model.Place], places: Sequence[model.Place], axis: str) -> dict[str, dict[str, dict[int, str]]]:
    """What is at 0 has no place on a logarithmic axis, but it counts for the front."""
    number = {place.run: position for position, place in enumerate(places)}
    kinds = sorted({place.made for place in places})
    found: dict[str, dict[str, dict[int, str]]] = {}
    for metric in dict.fromkeys(name for place in members for name in place.values):
        for made in ["", *(kinds if len(kinds) > 1 else [])]:
            known = [
                (place, -value if metric in LOWER_IS_BETTER else value, -x if axis == "cost" else x)
                for place in members
                if made in ("", place.made)
                and (x := getattr(place, axis)) is not None
                and (value := place.values.get(metric, (None,))[0]) is not None
            ]
            front = pareto_front([figures for _, *figures in known])
            best = [place for (place, *_), is_best in zip(known, front, strict=True) if is_best]
            labels = front_labels([(place.backend, place.how) for place in best])
            if best:
                found.setdefault(metric, {})[made] = {
                    number[place.run]: label for place, label in zip(best, labels, strict=True)
                }
    return found


def _prompts(table: Table) -> model.Block | None:
    """The prompts of each model. Of several seeds low and high are the lowest and highest value, as the value is a mean."""
    if not table.spreads:
        return None
    rows: list[dict[str, Any]] = []
    lines = []
    for spread in table.spreads:
        for prompt in spread.prompts:
            over, seeds = prompt.row.spread(table.metric), len(prompt.row.runs)
            found = prompt.row.entry.record.metrics.values[table.metric]
            low, high = (found.low, found.high) if over is None else (over[0], over[2])
            name = f"{spread.backend} · {spread.how}"
            row = {"name": name, "prompt": prompt.name, "value": prompt.value, "low": low, "high": high}
            rows.append({**row, "seeds": seeds, "unparsed": prompt.unparsed})
            bounds = f"{interval(low, high)}{f' over {seeds} seeds' if seeds > 1 else ''}"
            lines.append([name, prompt.name, decimal(prompt.value), bounds, part(prompt.unparsed)])
    metric_title = title(table.metric)
    seeded = any(row["seeds"] > 1 for row in rows)
    bounds = "its 95% interval; dashed, for several seeds: mean, lowest and highest value" if seeded else "95% intervals"
    return model.Block(
        chart="prompts",
        axis=metric_title,
        words=f"one line per model and decoding, one mark per prompt, with {bounds}",
        rows=rows,
        figures=model.Figures(heads=["Model", "Prompt", metric_title, "95% interval", "Unparsed"], lines=lines, texts=2),
        table=model.Figures(heads=spread_columns(table.metric), lines=list(map(spread_cells, table.spreads)), texts=4),
    )


def sections_of(keyed: Mapping[str, Table]) -> Iterator[model.Section]:
    """The tables of several languages in LEADERBOARD.md, in its order, as are their lines."""
    keys: dict[Group, str] = {table.group: key for key, table in keyed.items()}
    for _, several in groupby(keyed.values(), key=lambda table: table.group[:2]):
        for section in sections(list(several)):
            if len(section.tables) > 1:
                yield model.Section(
                    tables=[keys[table.group] for table in section.tables],
                    common=section.common,
                    title=" · ".join(f"{table.group[2]}: {table.first.record.metrics.n:,} rows" for table in section.tables),
                    lines=[_line(line, len(section.tables)) for line in section.lines],
                )


def _line(line: Line, columns: int) -> model.Line:
    runs = [line.places[column].row.entry.key if column in line.places else None for column in range(columns)]
    return model.Line(backend=line.backend, how=line.how, runs=runs)
