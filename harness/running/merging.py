"""The record of a run, made of its shards: by the code that ends a run, so that predictions and metrics are the same bytes.

A merge loads no model. It needs the project's files (task, prompt, backend) and the rows that the shards had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.engine import LanguageModel
from harness.core.errors import DamagedRecord, RunError, UserError
from harness.core.json_files import digest, write_parts_atomically
from harness.core.options import FOLDER
from harness.core.record import Cost, ShardTimes, Timing
from harness.core.shard_record import ShardRecord
from harness.core.types import Example
from harness.records.entries import Entry, finished_entry
from harness.records.journal import JournalEntry, done_rows, prediction_record
from harness.records.outcomes import Outcomes
from harness.records.shards import ShardFolder, delete_shards, entries_of, read_shard, shard_name
from harness.records.store import Store
from harness.running.batching import windows_of
from harness.running.gates import Gates
from harness.running.overlap import DuplicatesOf
from harness.running.plan import Plan, plan_without_model
from harness.running.runner import (
    Circumstances,
    Computed,
    charged_for,
    record_of,
    smallest_batch,
    speed_of,
    with_labels,
)
from harness.running.training import Trained
from harness.specs.catalog import Catalog
from harness.specs.costs import Price

MOST_NAMED = 10
"""Shards that a message names; it counts the others."""


class CannotMerge(RunError):
    """The shards of a run don't make one. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Merged:
    """`entry`: the record. `computed`: False if it was there already, and only its shards were deleted."""

    entry: Entry
    shards: int
    computed: bool


def merge(folders: Sequence[ShardFolder], store: Store, catalog: Catalog, data: Path | None = None) -> Merged:
    """Make the record of a run of all of its shards, and delete them. `folders`: those of one run. `data`: the folder of its
    rows, where that is not in the project's folder.

    Raises `CannotMerge` with the numbers of the shards that are missing, doubled or at odds, `DamagedRecord` for a damaged one,
    `OtherInputs` where rows or prompt are not those of the shards, and `RunBusy`.
    """
    run_id = folders[0].run_id
    try:
        with store.journal(run_id) as journal:  # no other process makes this record meanwhile
            if (entry := _recorded(store, run_id, folders)) is None:
                _merge(folders, store, journal.answers, catalog, data)
    finally:
        with suppress(OSError):  # it was made for the lock, and is empty where the run had not begun
            (store.root / f"{run_id}.partial").rmdir()
    made = entry or finished_entry(store, run_id)
    assert made is not None
    delete_shards(store, run_id)  # last: a kill before must lose nothing
    return Merged(made, len(folders), computed=entry is None)


def _merge(folders: Sequence[ShardFolder], store: Store, answers: Path, catalog: Catalog, data: Path | None) -> None:
    run_id, shards = folders[0].run_id, _complete_set(folders)
    used = {folder: record for folder, record in shards.items() if not record.is_empty}
    _check_agree(run_id, list(used.values()))
    plan = _plan(next(iter(used.values())), catalog, data)
    done = _computed(plan, used, answers)
    with closing(DuplicatesOf(plan)) as twins:
        predicted = with_labels(done)
        record = record_of(predicted, twins, _circumstances(done.entries, list(shards.values()), len(plan.rows)))
    _join_answers(store, run_id, list(shards))
    if finished_entry(store, run_id) is None:
        store.set_aside(run_id)  # a damaged one
    rows = zip(plan.rows, predicted.predictions, strict=True)
    store.finish(record, (prediction_record(row, prediction) for row, prediction in rows))


def _recorded(store: Store, run_id: str, folders: Sequence[ShardFolder]) -> Entry | None:
    """The record of the run, unless the shards were predicted to replace it."""
    entry = finished_entry(store, run_id)
    if entry is None:
        return None
    old = digest(entry.record.manifest())
    with suppress(DamagedRecord):
        if any(folder.finished and read_shard(folder).replaces == old for folder in folders):
            return None
    return entry


# What may be wrong with the shards


def _complete_set(folders: Sequence[ShardFolder]) -> dict[ShardFolder, ShardRecord]:
    """All shards of the run, in their order. Raises `CannotMerge` and `DamagedRecord`."""
    run_id, counts = folders[0].run_id, sorted({folder.shard.count for folder in folders})
    if len(counts) > 1:
        sets = "; ".join(f"of {count}: {_numbers([f for f in folders if f.shard.count == count])}" for count in counts)
        raise CannotMerge(
            f"{run_id} was divided into shards in {len(counts)} ways, which have the same rows twice ({sets}).",
            "Delete the folders of all but one.",
        )
    finished = [folder for folder in folders if folder.finished]
    there = {folder.shard.index for folder in finished}
    begun = {folder.shard.index for folder in folders} - there
    missing = [index for index in range(1, counts[0] + 1) if index not in there]
    if missing:
        words = [f"{index} (not finished)" if index in begun else str(index) for index in missing[:MOST_NAMED]]
        more = f" and {len(missing) - MOST_NAMED:,} others" if len(missing) > MOST_NAMED else ""
        raise CannotMerge(
            f"{run_id}: {len(missing):,} of {counts[0]:,} shards are missing: {', '.join(words)}{more}.",
            f"Repeat its `bench run` with --shard I/{counts[0]} for each of them.",
        )
    return {folder: read_shard(folder) for folder in finished}


def _numbers(folders: Sequence[ShardFolder]) -> str:
    numbers = [str(folder.shard.index) for folder in folders]
    return ", ".join(numbers[:MOST_NAMED]) + (", ..." if len(numbers) > MOST_NAMED else "")


def _check_agree(run_id: str, shards: Sequence[ShardRecord]) -> None:
    """Raise `CannotMerge` if one process could not have predicted all of them."""
    if not shards:
        raise CannotMerge(f"{run_id}: none of its shards has a row.", "Delete their folders, and run it again.")
    _check_same(run_id, "windows", [(record, {"texts in each": str(record.window_size)}) for record in shards])
    _check_same(run_id, "versions", [(record, record.versions) for record in shards])
    _check_same(run_id, "trained models", [(record, {"weights": (record.weights or "none")[:10]}) for record in shards])
    _check_same(run_id, "runtimes of the trained model", [(record, _runtime(record)) for record in shards])


def _runtime(record: ShardRecord) -> dict[str, str]:
    found = record.runtime
    return {} if found is None else {"runtime": f"{found.runtime} {found.library} {found.quantization or ''}".strip()}


def _check_same(run_id: str, what: str, found: Sequence[tuple[ShardRecord, Mapping[str, str]]]) -> None:
    names = sorted({name for _, values in found for name in values})
    for name in names:
        by_value: dict[str, list[str]] = defaultdict(list)
        for record, values in found:
            by_value[values.get(name, "none")].append(str(record.shard.index))
        if len(by_value) > 1:
            told = "; ".join(
                f"{value} in {', '.join(numbers[:MOST_NAMED])}{', ...' if len(numbers) > MOST_NAMED else ''}"
                for value, numbers in by_value.items()
            )
            raise CannotMerge(
                f"{run_id}: its shards have different {what} ({name}: {told}).",
                "Predict those of one side again, with --force, in the same environment and with the same trained model.",
            )


def _plan(first: ShardRecord, catalog: Catalog, data: Path | None) -> Plan:
    options = first.options if data is None or first.options.data is None else first.options.changed(data=data)
    if options.data == Path(FOLDER):
        raise UserError(
            f"{first.run_id}: its rows came from a folder outside of this one, which no record names.", "Name it: --data DIR."
        )
    return plan_without_model(options, catalog, first.identity)


# What the run would have had


def _computed(plan: Plan, shards: Mapping[ShardFolder, ShardRecord], answers: Path) -> Computed:
    """The answers of all shards, in the order in which one process would have asked for them."""
    first = next(iter(shards.values()))
    windows = list(windows_of(plan.rows, first.window_size))
    window = {row.id: number for number, rows in enumerate(windows) for row in rows}
    outcomes, placed = Outcomes([row.id for row in plan.rows]), list[tuple[int, JournalEntry]]()
    for folder, record in shards.items():
        entries = entries_of(folder)
        _check_rows(folder, record, entries, windows)
        # Without rows: the content-free inputs, which come first.
        placed += [(window[entry.rows[0].id] if entry.rows else -1, outcomes.take(entry)) for entry in entries]
    entries = [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]
    gates = Gates(plan, answers, stops=False)
    if isinstance(plan.engine, LanguageModel):
        gates.found += [gate for gate in first.gates if gate.name == "text_in_prompt"]
    for entry in entries:
        gates.see(entry)
    trained = None if first.training is None else Trained(first.training, first.runtime)
    return Computed(plan, entries, trained, 0.0, outcomes, gates)


def _check_rows(
    folder: ShardFolder, record: ShardRecord, entries: Sequence[JournalEntry], windows: Sequence[Sequence[Example]]
) -> None:
    """Raise `CannotMerge` if a shard's rows are not those of its windows."""
    own = {row.id for number, rows in enumerate(windows) if folder.shard.has_window(number) for row in rows}
    done = done_rows(entries)
    if done != own:
        raise CannotMerge(
            f"{folder.run_id}: shard {folder.shard} has {len(done):,} rows, of which {len(done & own):,} are among its "
            f"{len(own):,} rows of the run.",
            folder.repeat_hint,
        )


def _circumstances(entries: Sequence[JournalEntry], shards: Sequence[ShardRecord], rows: int) -> Circumstances:
    used = [record for record in shards if not record.is_empty]
    first = used[0]
    return Circumstances(
        finished=max(record.finished for record in shards),
        checkpoint=first.checkpoint,
        timing=_timing(entries, used, len(shards), rows),
        cost=_cost(entries, used),
        peak_memory=first.peak_memory_mib.model_copy(
            update={name: _most(getattr(record.peak_memory_mib, name) for record in used) for name in ("host", "gpu")}
        ),
        machine=first.machine,
        versions=first.versions,
    )


def _timing(entries: Sequence[JournalEntry], used: Sequence[ShardRecord], count: int, rows: int) -> Timing:
    """The seconds of all shards together. Loading is that of the slowest: each process loads the model once."""
    times = [record.timing for record in used]
    machines = [record.machine for record in used]
    differ: dict[str, Any] = {"machines": machines} if any(machine != machines[0] for machine in machines) else {}
    shards = ShardTimes(count=count, longest_seconds=_most(time.seconds for time in times), **differ)
    update: dict[str, Any] = {
        **speed_of(entries, rows),
        "load_seconds": _most(time.load_seconds for time in times),
        "distinct_texts": sum(time.distinct_texts or 0 for time in times),
        "smallest_batch": smallest_batch(entries),
        "load_average": _most(time.load_average for time in times),
        "shards": shards,
    }
    return times[0].model_copy(update=update)


def _most(values: Iterable[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _cost(entries: Sequence[JournalEntry], used: Sequence[ShardRecord]) -> Cost | None:
    """By the price that the shards had; of several prices the sum, and the price of the first."""
    costs = [record.cost for record in used if record.cost is not None]
    if not costs:
        return None
    prices = [cost.model_dump(exclude={"usd"}, exclude_none=True) for cost in costs]
    if all(price == prices[0] for price in prices):
        usd = Price(**prices[0]).charged(charged_for(entries))
    else:
        usd = sum(cost.usd for cost in costs)
    return costs[0].model_copy(update={"usd": round(usd, 6)})


def _join_answers(store: Store, run_id: str, folders: Sequence[ShardFolder]) -> None:
    """The answers that this machine kept of the shards become those of the run."""
    files = [store.answers_file(shard_name(run_id, folder.shard)) for folder in folders]
    if there := [file for file in files if file.exists()]:
        write_parts_atomically(store.answers_file(run_id), (file.read_bytes() for file in there))
