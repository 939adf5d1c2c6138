"""`bench results merge`: the records of runs that were predicted in shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, TrustMetricCode, catalog, open_store, print_json, print_table, report
from harness.cli.run_options import option
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.core.errors import BenchError
    from harness.core.record import RunRecord
    from harness.records.store import Store


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of the shards of one run. `state`: new, found (it had its record) or failed."""

    run_id: str
    state: str
    shards: int
    record: RunRecord | None = None
    error: BenchError | None = None

    def as_json(self) -> dict[str, Any]:
        from harness.cli.execute_runs import error_as_json

        return {
            "state": self.state,
            "run": self.run_id,
            "shards": self.shards,
            "metrics": self.record and self.record.metrics.as_json(),
            "error": self.error and error_as_json(self.error),
        }


def merge_command(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids, or parts of them; default: all that have shards.")
    ] = None,
    data: Annotated[
        Path | None, option("data", "Folder of the rows, where the shards had them from outside of the project (--data).")
    ] = None,
    results: Results = RESULTS,
    trust_metric_code: TrustMetricCode = False,
    as_json: Json = False,
) -> None:
    """Make the records of runs that were predicted in shards (`bench run --shard I/N`).

    Each is the record that one process would have written: the same predictions and metrics, byte for byte. Its time is the sum
    over the shards, and it names the longest one. Then the shards are deleted.

    No model is loaded. The task's rows, prompts and backends must be those of the shards. A shard that is missing, doubled or
    damaged is named (exit code 1), and the run stays as it is.

    --json prints a list with one object per run: state (new, found, failed), run, shards, metrics, error.
    """
    from harness.cli.execute_runs import exit_with

    store, known = open_store(results), catalog(trust_metric_code)
    done = [_merged(store, run_id, known, data) for run_id in _chosen(store, runs or [])]
    if as_json:
        print_json([one.as_json() for one in done])
    elif done:
        print_table(["run", "shards", "record"], [[one.run_id, str(one.shards), one.state] for one in done])
    else:
        typer.echo(plain(f"There are no shards in {store.root}."), err=True)
    exit_with(one.error for one in done)


def _chosen(store: Store, parts: list[str]) -> list[str]:
    """The runs with these names; all with shards, if there are none. Raises `UserError`."""
    from harness.core.errors import UserError
    from harness.records.shards import shards_by_run

    there = list(shards_by_run(store))
    chosen: list[str] = []
    for part in parts:
        hits = [part] if part in there else [run_id for run_id in there if part in run_id]
        if len(hits) > 1:
            raise UserError(f"{part!r} matches {len(hits)} runs with shards.", f"Name one of them: {', '.join(hits[:6])}")
        chosen += hits or [store.find(part)]
    return list(dict.fromkeys(chosen)) if parts else there


def _merged(store: Store, run_id: str, known: Any, data: Path | None) -> _Done:
    """Prints what went wrong: the other runs are merged all the same."""
    from harness.core.errors import as_bench_error
    from harness.records.shards import shards_by_run
    from harness.running.merging import merge

    folders = shards_by_run(store).get(run_id, [])
    if not folders:
        return _Done(run_id, "found", 0, store.record(run_id))
    try:
        found = merge(folders, store, known, data)
    except Exception as error:
        if os.environ.get("BENCH_DEBUG"):
            raise
        failure = as_bench_error(error)
        report(failure)
        return _Done(run_id, "failed", len(folders), error=failure)
    return _Done(run_id, "new" if found.computed else "found", found.shards, found.entry.record)
