"""`bench run`: a run for every combination of the given options."""

from __future__ import annotations

from harness.cli.dry_run import DryRun, print_plan
from harness.cli.options import Json, catalog, open_store, print_json, tolerate_broken_pipe
from harness.cli.requests import budget_of, completed, note_unused
from harness.cli.run_options import takes_run_options
from harness.core.errors import UserError
from harness.core.options import ExecutionOptions
from harness.specs.asked import Asked

HELP = {"max_cost": "Spend at most this on servers, in all runs of this command; each shard (--shard) may spend it."}


@takes_run_options(help=HELP)
def run_command(asked: Asked, execution: ExecutionOptions, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Train or prompt backends on the same rows.

    Writes a record of each run. Give an option several values (separated by commas, or repeat the option) to run every
    combination. A recorded run is not repeated, and a stopped one continues: repeat the command.

    --shard 3/8 predicts the third of eight parts of each run: `bench results merge` makes the records when all parts are there.

    --json prints a list with one object per run: state (new, found, incomplete, failed), run, its options by name (task,
    lang, backend, ...; settings is --set), model_from_cache, metrics, gates, finding (kind, message; of a run that is no
    better than chance, else null), error; with --shard also shard and rows (that it has). With --dry-run: as `bench study
    recipe` prints it.
    """
    from harness.cli.execute_runs import print_runs, run_all, tracking_with
    from harness.execution.jobs import requests_of
    from harness.studies.steps import steps_of_runs

    if execution.shard is not None and execution.shards is not None:
        raise UserError("--shard and --shards: both split each run.", "--shard for one part, --shards for all of them.")
    if execution.shard is not None and execution.track is not None:
        raise UserError("--shard and --track: a shard has no metrics to track.", "Leave out --track.")
    known = catalog(execution.trust_metric_code)
    store = open_store(execution.results)
    asked = completed(asked, known, store)
    runs, backends = asked.runs(known), asked.many("backend")
    note_unused(asked, known, backends)
    if dry_run:
        print_plan(steps_of_runs(runs), known, store, execution, as_json=as_json)
        return
    budget = budget_of(execution, known, backends, asked.one("model"))
    with tracking_with(execution) as series:
        outcomes, stopped = run_all(known, requests_of(runs), store, execution, budget)
    if not stopped:
        with tolerate_broken_pipe():
            print_json([done.as_json() for done in outcomes]) if as_json else print_runs(outcomes)
    series.finish(outcomes, stopped)
