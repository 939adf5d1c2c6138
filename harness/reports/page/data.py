"""All that results/leaderboard.html shows, as one JSON object: a pure function of records, prices and reported figures.

Numbers carry six significant digits; no clock and no path of a machine gets in, so the same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.findings import SHORT
from harness.analysis.pricing import cost_of, labels_of, missing_price
from harness.analysis.ranks import Configuration, RankedEntry
from harness.analysis.spread import Prompted, Spread
from harness.core.errors import RunError
from harness.core.record import RunRecord
from harness.records.entries import TITLES, Entry
from harness.records.latency import LatencyRecord, latency_of, load_latencies
from harness.records.sizes import prompted_sizes, size_of
from harness.records.store import Store
from harness.reports.page.answers import ALPHABET, Packed, common_limit, pack, runs_of
from harness.reports.page.curves import read_curves
from harness.reports.page.details import EVALUATIONS, LEAST, details, evaluations_of, shortened
from harness.reports.page.explain import explanations
from harness.reports.page.languages import by_language
from harness.reports.page.transfers import matrices
from harness.reports.tables import Table
from harness.reports.words import hows
from harness.specs.prices import Prices
from harness.statistics.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from harness.specs.reported import Figure, Reported

PREDICTIONS = 1e6
"""Rows that share the cost of training: what `bench analyze cost` takes where nothing else is said."""
ODD = (LookupError, TypeError, ValueError, AttributeError)
"""What a manifest of another shape raises: older records lack fields that later ones have."""
UNKNOWN_COST = "the record does not hold what a price is made of (an earlier version of bench wrote it)"


def payload(
    store: Store, results: Path, tables: Sequence[Table], prices: Prices, reported: Sequence[Reported] = (), note: str = ""
) -> dict[str, Any]:
    """What the page shows; strict JSON, the same for the same records. `note` stands at its end.

    `results` is the folder that holds runs/, latency/ and curves/. Raises `RunError` for a record that is damaged.
    """
    latencies = load_latencies(results)
    packed = pack(store, tables)
    keyed = {f"t{number}": table for number, table in enumerate(tables)}
    entries = [entry for table in tables for entry in runs_of(table)]
    metrics = sorted({name for entry in entries for name in entry.metrics["values"]})
    return {
        "version": 1,
        "bench": version("bench-harness"),
        "tables": [_table(key, store, table, packed, prices, latencies) for key, table in keyed.items()],
        "runs": _runs(store, entries, packed),
        "titles": {name: TITLES.get(name, name if "/" in name else name.replace("_", " ")) for name in metrics},
        "lower_is_better": sorted(LOWER_IS_BETTER),
        "explain": explanations(entries),
        "alphabet": ALPHABET,
        "rowsets": packed.rows,
        "by_language": by_language(keyed),
        "matrices": matrices([entry for entry in entries if entry.among is None]),
        "curves": read_curves(results),
        "reported": [_reported(source) for source in reported],
        "note": note,
    }


def _runs(store: Store, entries: Sequence[Entry], packed: Packed) -> dict[str, Any]:
    most = max(LEAST, common_limit([(len(evaluations_of(entry)), 1) for entry in entries], EVALUATIONS))
    runs = {}
    for entry in entries:
        with _named(store, entry):
            runs[entry.key] = {**details(store, entry, most), "answers": packed.answers.get(entry.key)}
    return runs


@contextmanager
def _named(store: Store, entry: Entry) -> Iterator[None]:
    """A shape that no version of bench wrote is a `RunError` that names the record."""
    try:
        yield
    except ODD as error:
        folder = store.root / entry.run_id
        raise RunError(
            f"{folder} is not the record of a run ({type(error).__name__}: {error}).", "Delete that folder."
        ) from error


def _table(
    key: str, store: Store, table: Table, packed: Packed, prices: Prices, latencies: Sequence[LatencyRecord]
) -> dict[str, Any]:
    task, split, lang, _ = table.group
    identity = table.first.manifest["identity"]
    return {
        "key": key,
        "task": task,
        "split": split,
        "lang": lang,
        "rows": packed.row_sets[table.group],
        "n": table.first.metrics["n"],
        "kind": str(identity["label_kind"]),
        "labels": list(identity["labels"]),
        "headline": list(table.first.metrics["headline"]),
        "metric": table.metric,
        "few": table.few,
        "prompted_sizes": prompted_sizes(place.row.entry for place in table.places),
        "warnings": table.warnings,
        "when": table.when,
        "outdated": table.outdated,
        "main": table.main,
        "places": [
            _place(store, place, words, prices, latencies)
            for place, words in zip(table.places, hows([place.row for place in table.places]), strict=True)
        ],
        "spreads": [_spread(spread) for spread in table.spreads],
    }


def _place(store: Store, place: RankedEntry, words: str, prices: Prices, latencies: Sequence[LatencyRecord]) -> dict[str, Any]:
    row, entry = place.row, place.row.entry
    with _named(store, entry):
        return {
            "rank": place.rank,
            "tied": place.tied,
            "backend": entry.display_name,
            "how": words,
            "size": size_of(entry),
            **_made(entry.manifest["identity"]),
            "finding": place.finding and place.finding.message,
            "finding_short": place.finding and SHORT[place.finding.kind],
            "tested_on": entry.tested_on,
            "run": entry.key,
            **_figures(row),
            "rate": shortened(entry.manifest["timing"]["rows_per_second"]),
            **_money(entry.manifest, prices),
            **_latency(entry.record, latencies),
            **_machine(entry.manifest),
        }


def _figures(row: Configuration) -> dict[str, Any]:
    """Of the run in the middle, but for what tells of all seeds; `by_seed` in the order of `runs`."""
    entry = row.entry
    runs = sorted(row.runs, key=lambda run: run.seed)
    spread = {name: row.spread(name) for name in entry.metrics["values"]}
    by_seed = {name: [shortened(run.metrics["values"][name]["value"]) for run in runs] for name in entry.metrics["headline"]}
    return {
        "runs": [run.key for run in runs],
        "seeds": row.seeds,
        "values": {name: _bounds(value) for name, value in entry.metrics["values"].items()},
        "over_seeds": {name: shortened(found) for name, found in spread.items() if found} or None,
        "by_seed": by_seed if len(runs) > 1 else None,
        "unparsed": shortened(row.share("unparsed")),
        "failed": shortened(row.share("failed")),
    }


def _bounds(value: Mapping[str, Any]) -> list[float | None]:
    return [shortened(value[key]) for key in ("value", "low", "high")]


def _money(manifest: Mapping[str, Any], prices: Prices) -> dict[str, Any]:
    """US dollars per 1,000 rows as `bench analyze cost` has them, `parts`: inference and training; or why there is no price."""
    try:
        cost = cost_of(manifest, prices, PREDICTIONS, 0)
        basis = missing_price(manifest, prices) if cost is None else cost.basis
        labelled = None if _is_continued(manifest) else labels_of(manifest)
    except ODD:
        cost, basis, labelled = None, UNKNOWN_COST, None
    parts = None if cost is None else [shortened(cost.inference), shortened(cost.training)]
    return {
        "cost": None if cost is None else shortened(cost.total),
        "cost_parts": parts,
        "cost_basis": basis,
        "labelled": labelled,
    }


def _is_continued(manifest: Mapping[str, Any]) -> bool:
    """Whether it went on from a model that was trained before, whose labels its own record does not hold."""
    return "continued_from" in (manifest["identity"]["train"] or {})


def _latency(record: RunRecord, latencies: Sequence[LatencyRecord]) -> dict[str, Any]:
    latency = latency_of(record, latencies)
    if latency is None:
        return {"p50_ms": None, "p95_ms": None, "p95_basis": None}
    basis = f"{latency.n:,} rows, one at a time, on {_machine_words(latency.machine.as_json())}"
    return {"p50_ms": shortened(latency.p50_ms), "p95_ms": shortened(latency.p95_ms), "p95_basis": basis}


def _made(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What answered, what it learned from, or how it was asked."""
    train, prompt = identity["train"], identity["prompt"]
    variant = f".{prompt['variant']}" if prompt and prompt.get("variant") else ""
    return {
        "engine": str(identity["backend"].get("engine", "")),
        "model": identity["backend"].get("model"),
        "train_count": None if train is None else train.get("train_count"),
        "train_langs": [] if train is None else list(train["langs"]),
        "validation_langs": None if train is None else list(train.get("validation_langs", train["langs"])),
        "prompt": f"{prompt['name']}{variant}" if prompt else None,
        "decoding": prompt["decoding"] if prompt else None,
        "exemplars": len(prompt["shots"]) if prompt else None,
    }


def _machine(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`busy`: more to do than cores, so that its times, and what they cost, are too high."""
    machine, load = manifest.get("machine"), manifest["timing"].get("load_average")
    return {
        "machine": _machine_words(machine),
        "load": load,
        "busy": bool(machine and load is not None and load > machine.get("cores", load)),
        "finished": manifest.get("finished"),
    }


def _machine_words(machine: Mapping[str, Any] | None) -> str:
    if not machine:
        return "unknown"
    cores = machine.get("cores")
    counted = f", {cores} core{'' if cores == 1 else 's'}" if cores else ""
    return str(machine.get("gpu") or f"{machine.get('cpu') or 'unknown'}{counted}")


def _spread(spread: Spread) -> dict[str, Any]:
    figures = {key: shortened(getattr(spread, key)) for key in ("low", "high", "range", "expected")}
    return {
        "backend": spread.backend,
        "how": spread.how,
        "metric": spread.metric,
        "prompts": [_prompted(prompt, spread.metric) for prompt in spread.prompts],
        **figures,
        "median": shortened(spread.middle.value),
        "beyond": spread.beyond,
    }


def _prompted(prompt: Prompted, metric: str) -> dict[str, Any]:
    """`low` and `high`: the 95% interval of one run; of several seeds their smallest and largest value, as `value` is their
    mean."""
    bounds = _bounds(prompt.row.entry.metrics["values"][metric])[1:]
    over = prompt.row.spread(metric)
    low, high = bounds if over is None else [shortened(over[0]), shortened(over[2])]
    return {
        "name": prompt.name,
        "value": shortened(prompt.value),
        "low": low,
        "high": high,
        "unread": shortened(prompt.unread),
        "seeds": len(prompt.row.runs),
    }


def _reported(source: Reported) -> dict[str, Any]:
    return {"name": source.name, "source": source.source, "note": source.note, "figures": list(map(_figure, source.figures))}


def _figure(figure: Figure) -> dict[str, Any]:
    kept = ("model", "task", "lang", "train", "n", "split", "metric", "value", "shown", "note")
    return {name: getattr(figure, name) for name in kept}
