"""`bench results rescore`: compute the intervals of recorded runs again."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import RESULTS, Json, Results, open_store, print_json, print_table
from harness.core.plain import plain


def rescore_command(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids, or parts of them; default: all.")] = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compute the intervals of recorded runs again.

    For records of an earlier version of bench. Reads the predictions and writes metrics.json: new intervals, and metrics
    that the record lacks. Values do not change, and nothing is predicted. Then run `bench leaderboard` to show them.

    --json prints an object with runs, a list of run and changed (the metrics that are new or whose interval has changed), and
    sentence.
    """
    from harness.analysis.rescoring import rescore
    from harness.core.errors import UserError
    from harness.records.entries import read_entries

    store = open_store(results)
    named = dict.fromkeys(store.find(part) for part in runs or [])
    chosen = list(named) if runs else [entry.run_id for entry in read_entries(store)]
    if not chosen:
        raise UserError(f"There are no runs in {store.root}.", "Start with `bench run`, or name the folder: --results DIR.")
    changed = {name: rescore(store, name) for name in chosen}
    count = sum(map(bool, changed.values()))
    sentence = (
        f"{count} of {len(chosen)} run{'s' if len(chosen) > 1 else ''} got new intervals or metrics; no value has changed."
    )
    if as_json:
        listed = [{"run": name, "changed": metrics} for name, metrics in changed.items()]
        print_json({"runs": listed, "sentence": sentence})
        return
    print_table(
        ["run", "new intervals or metrics"], [[name, ", ".join(metrics) or "none"] for name, metrics in changed.items()]
    )
    typer.echo(plain(sentence))
