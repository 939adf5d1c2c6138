"""What the commands that make runs share: what the options leave open, and what needs the folder of results or a price."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.cli import verbosity

if TYPE_CHECKING:
    from harness.core.options import ExecutionOptions
    from harness.records.store import Store
    from harness.specs.asked import Asked
    from harness.specs.catalog import Catalog
    from harness.specs.costs import Budget

E = TypeVar("E", bound=StrEnum)


def completed(asked: Asked, known: Catalog, store: Store) -> Asked:
    """With the default task, and with the key of the model that --continue-from means. Raises `UserError`."""
    from harness.core.errors import UserError

    if not asked.many("backend"):
        raise UserError("Which backend? Name it with --backend.", f"Known: {', '.join(known.names('backend'))}.")
    for name in asked.many("backend"):
        known.backend(name)
    asked = asked.changed(task=asked.many("task") or [task_or_default(known, None)])
    start, labelling = asked.one("continue_from"), asked.one("labels_from")
    if labelling is not None:
        asked = asked.changed(labels_from=labelling_folder(store, labelling))
    return asked if start is None else asked.changed(continue_from=trained_key_of(store, start))


def labelling_folder(store: Store, id_or_folder: str) -> str:
    """The folder of a labelling, by its id (the last digits are enough) or by the folder itself. Raises `UserError`."""
    from harness.records.labellings import Labellings, finished_labelling

    if finished_labelling(Path(id_or_folder)):
        return Path(id_or_folder).as_posix()
    return Labellings(store.root.parent / "labels").find(id_or_folder).as_posix()


def trained_key_of(store: Store, run_or_key: str) -> str:
    """The key of the model that a run trained, or the key itself. Raises `UserError` if the run is unknown or trained none."""
    from harness.core.errors import UserError
    from harness.running.trained_models import folder_of

    if re.fullmatch(r"[0-9a-f]{20}", run_or_key) and folder_of(run_or_key).is_dir():
        return run_or_key
    name = store.find(run_or_key)
    identity = store.record(name).identity
    if identity.train is None:
        raise UserError(f"The run {name} trained no model.", "Name a run of a backend that trains.")
    return identity.trained_key


def task_or_default(known: Catalog, task: str | None) -> str:
    """The named task; else the only one in tasks/, or the demo if there is none. Raises `UserError` if there are several."""
    from harness.core.errors import UserError

    if task is not None:
        return task
    own = known.own_tasks()
    if len(own) > 1:
        raise UserError("Which task? Name it with --task.", f"In tasks/: {', '.join(own)}.")
    if not own:
        return "reviews_demo"
    verbosity.note(f"note: task {own[0]}, the only one in tasks/ (no --task given).")
    return own[0]


def member(kind: type[E], name: str) -> E:
    from harness.core.errors import UnknownName

    if name not in list(kind):
        raise UnknownName(kind.__name__.lower(), name, list(kind))
    return kind(name)


def check_split(split: str) -> None:
    from harness.specs.asked import read_option

    read_option("split", split)


def budget_of(execution: ExecutionOptions, known: Catalog, backends: Collection[str], model: str | None) -> Budget | None:
    """The budget of --max-cost, for all runs of the command. Raises `UserError` for a server without a price: its cost would
    not count."""
    from harness.core.errors import UserError
    from harness.specs.asked import engine_of
    from harness.specs.costs import MemoryBudget

    if execution.max_cost is None:
        return None
    served = [name for name in backends if engine_of(known, name).model_is == "name"]
    unpriced = [name for name in served if known.prices.filled(known.backend(name), model).price is None]
    if unpriced:
        hint = "Add its model to `models:` in prices.yaml in your folder: US dollars per million tokens (docs/price.md)."
        raise UserError(f"--max-cost {execution.max_cost:g}: {', '.join(unpriced)} has no price.", hint)
    if not served:
        verbosity.note(f"note: --max-cost has no effect: none of {', '.join(backends)} is a server.")
    return MemoryBudget(execution.max_cost)


def note_unused(asked: Asked, known: Catalog, backends: Sequence[str]) -> None:
    """Name the options that no backend of the command uses."""
    from harness.core.options import option_name
    from harness.specs.asked import FOR_PROMPTED, unused_by

    unused = set.intersection(*(unused_by(known, backend) for backend in backends))
    for name in asked.values:
        if name in unused and name != "model":
            kind = "prompted" if name in FOR_PROMPTED else "trained"
            verbosity.note(f"note: {option_name(name)} has no effect: none of {', '.join(backends)} is {kind}.")
