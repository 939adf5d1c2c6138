"""`bench leaderboard`: regenerate it from the run records, or check that it is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, open_store, print_json, print_table

if TYPE_CHECKING:
    from harness.leaderboard import Entry


def leaderboard_command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is stale.")] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Rank all runs and write LEADERBOARD.md; what others reported (in `reported`, beside `runs`) comes last and unranked.

    --json prints a list with one object per run, in the order of the tables: rank, run, task, split, lang, rows, backend,
    how, identity, timing, metrics. With --check: an object with path and up_to_date.
    """
    from harness import leaderboard
    from harness.errors import UserError
    from harness.leaderboard import read_entries
    from harness.reported import read_reported
    from harness.store import write_atomically

    store = open_store(results)
    if not results.exists():
        raise UserError(
            f"There is no folder {results}, so there are no runs.", "Begin with `bench run`, or name it: --results DIR."
        )
    entries = read_entries(store)
    path, text = results / "LEADERBOARD.md", leaderboard.markdown(entries, read_reported(results / "reported"))
    if check:
        _check(path, text, as_json)
        return
    write_atomically(path, text)
    if as_json:
        print_json(
            [_as_json(rank, entry) for _, members in leaderboard.tables(entries) for rank, entry in enumerate(members, 1)]
        )
        return
    for (task, split, lang, _), members in leaderboard.tables(entries):
        typer.echo(f"\n{task} ({split}), {lang}: {members[0].metrics['n']} rows")
        columns = leaderboard.columns(members)
        rows = [leaderboard.cells(rank, entry) for rank, entry in enumerate(members, start=1)]
        headline = columns[3:-3]  # the first metric is what the rows are ranked by
        print_table(
            columns,
            [[*row[:-1], row[-1].rpartition(".")[2]] for row in rows],
            text=["how"],
            optional=["rows/s", *reversed(headline[1:]), "parsed"],
        )
    typer.echo(f"\n{len(entries)} runs; written to {path}. A row's run is what `bench show` takes.", err=True)


def _check(path: Path, text: str, as_json: bool) -> None:
    from harness.errors import BenchError

    try:
        fresh = path.read_bytes() == text.encode()
    except FileNotFoundError:
        fresh = False
    if as_json:
        print_json({"path": str(path), "up_to_date": fresh})
    elif fresh:
        typer.echo(f"{path} is up to date.")
    if not fresh:
        raise BenchError(f"{path} does not show the records in {path.parent / 'runs'}.", "Run `bench leaderboard`.")


def _as_json(rank: int, entry: Entry) -> dict[str, Any]:
    identity = entry.manifest["identity"]
    return {
        "rank": rank,
        "run": entry.run_id,
        **{key: identity[key] for key in ("task", "split", "lang", "rows")},
        "backend": identity["backend"]["name"],
        "how": entry.how,
        "identity": identity,
        "timing": entry.manifest["timing"],
        "metrics": entry.metrics,
    }
