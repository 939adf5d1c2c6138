"""`bench leaderboard`: regenerate it from the run records, or check that it is up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import RESULTS, Json, Results, print_json, print_table


def leaderboard_command(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is stale.")] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Rank all runs and write LEADERBOARD.md."""
    from harness import leaderboard
    from harness.errors import BenchError
    from harness.store import Store, write_atomically

    entries = leaderboard.read_entries(Store(results / "runs"))
    path, text = results / "LEADERBOARD.md", leaderboard.markdown(entries)
    if check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise BenchError(f"{path} does not show the records in {results / 'runs'}.", "Run `bench leaderboard`.")
        typer.echo(f"{path} is up to date.")
        return
    results.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    if as_json:
        print_json(
            [{"run": entry.run_id, "identity": entry.manifest["identity"], "metrics": entry.metrics} for entry in entries]
        )
        return
    for (task, split, lang, _), members in leaderboard.tables(entries):
        rows = [leaderboard.cells(rank, entry) for rank, entry in enumerate(members, start=1)]
        title = f"{task} ({split}), {lang}: {members[0].metrics['n']} rows"
        typer.echo(f"\n{title}")
        print_table(leaderboard.columns(members)[:-1], [row[:-1] for row in rows])
    typer.echo(f"\n{len(entries)} runs; written to {path}", err=True)
