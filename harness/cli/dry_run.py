"""`--dry-run`: what a command would run, and what is done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import print_json, print_table, tolerate_broken_pipe

if TYPE_CHECKING:
    from harness.core.options import ExecutionOptions
    from harness.records.store import Store
    from harness.specs.catalog import Catalog
    from harness.studies.dry_run import PlannedStep
    from harness.studies.steps import Step

DryRun = Annotated[bool, typer.Option("--dry-run", help="List the runs and what is done already; run nothing.")]


def print_plan(steps: Sequence[Step], known: Catalog, store: Store, execution: ExecutionOptions, *, as_json: bool) -> None:
    """A line for each run or search; what it needs where other machines carry it out. Nothing is written or downloaded."""
    from harness.cli.project_file import executor_tables
    from harness.studies.dry_run import planned_steps

    planned = planned_steps(steps, known, store, executor_tables().needs)
    with tolerate_broken_pipe():
        if as_json:
            print_json([asdict(step) for step in planned])
            return
        elsewhere = ["needs", "group"] if execution.executor != "local" else []
        columns = ["step", "task", "backend", "train", "validation", "test", "settings", *elsewhere, "state"]
        rows = [_row(step, where=bool(elsewhere)) for step in planned]
        print_table(columns, rows, text=["settings", "needs", "state"], optional=["task", "validation", "settings"])
    typer.echo("Nothing was run.", err=True)


def _row(planned: PlannedStep, *, where: bool) -> list[str]:
    settings = [f"{key}={value}" for key, value in planned.settings.items()]
    if planned.trials is not None:
        settings.append(f"search of {', '.join(planned.searched)}: {planned.trials} trials")
    if planned.prompt:
        settings.append(f"prompt {planned.prompt}")
    settings += [f"{name.replace('_', ' ')} {value}" for name, value in planned.choices.items()]
    if planned.seed:
        settings.append(f"seed {planned.seed}")
    train, *others = (str(count or "-") for count in (planned.train, planned.validation, planned.test))
    if planned.continued_from:
        train += f", after {planned.continued_from}"
    state = planned.state if planned.note is None else f"{planned.state}; {planned.note}"
    placed = [_needs(planned), str(planned.group)] if where else []
    return [planned.step, planned.task, planned.backend, train, *others, ", ".join(settings) or "-", *placed, state]


def _needs(planned: PlannedStep) -> str:
    """`1 GPU, 4 CPUs, 16 GiB`."""
    need = planned.need
    gpus = "a GPU if there is one" if need.gpus is None else f"{need.gpus:g} GPU{'' if need.gpus == 1 else 's'}"
    cpus = None if need.cpus is None else f"{need.cpus:g} CPU{'' if need.cpus == 1 else 's'}"
    memory = None if need.memory_gib is None else f"{need.memory_gib:g} GiB"
    return ", ".join(filter(None, [gpus, cpus, memory]))
