"""The runs of the same model on the rows of another split: on validation rows temperatures, thresholds and configurations are
chosen; commands for missing runs."""

from __future__ import annotations

import shlex

from harness.core.errors import UserError
from harness.core.options import Split
from harness.core.record import RESULT_VERSION, TRAINING_VERSION, Identity, RunRecord
from harness.records.entries import read_entry, read_intact
from harness.records.store import Store
from harness.running.thresholds import DEFAULT, RULE
from harness.specs.backend_specs import engine_class


def matching_validation_run(store: Store, run_id: str) -> str | None:
    """The finished run of the same model, seed and prompt on validation rows; of several the one with the most rows."""
    found = [(one.n, one.run_id) for one in matching_runs(store, run_id, "validation")]
    return max(found, default=(0, None))[1]


def matching_runs(store: Store, run_id: str, split: Split) -> list[RunRecord]:
    """The finished runs of the same model, seed and prompt on other rows, those of `split`."""
    wanted = _without_rows(store.record(run_id))
    slug = run_id.rpartition(".")[0]  # such ids differ in their digits only, so few records have to be read
    paths = [store.root / name for name in store.ids() if name.rpartition(".")[0] == slug and name != run_id]
    records = read_intact(paths, lambda path: read_entry(store, path.name).record)
    return [one for one in records if one.identity.split == split and _without_rows(one) == wanted]


def _without_rows(record: RunRecord) -> Identity:
    """The identity, the same for all tested rows. Validation rows that the engine did not look at are left out."""
    identity, train = record.identity, record.identity.train
    if train is not None and (record.training is None or record.training.validation_rows is None):
        train = train.model_copy(update={"validation_rows": "", "validation_langs": None})
    # The file of an imported run is another one for other rows.
    backend = identity.backend.model_copy(update={"samples_sha256": None})
    return identity.model_copy(update={"split": "", "rows": "", "backend": backend, "train": train})


def is_outdated(record: RunRecord) -> bool:
    """Whether no new run can have this record's identity: an earlier version of bench made it, its engine had other options, or
    its thresholds or its checkpoint were chosen by another rule."""
    identity, train = record.identity, record.identity.train
    if identity.version != RESULT_VERSION or (train is not None and train.version != TRAINING_VERSION):
        return True
    thresholds = (record.training.thresholds if record.training is not None else None) or [DEFAULT]
    was_tuned = set(thresholds) != {DEFAULT} and identity.backend.options.get("threshold") is None
    if train is not None and was_tuned and train.thresholds != RULE:
        return True
    validated = record.training is not None and record.training.validation_rows
    recorded = identity.backend.options
    try:
        engine = engine_class(identity.backend.engine)
        if train is not None and train.chosen_by is None and validated and getattr(engine, "chooses_checkpoint", False):
            return True
        # an engine leaves some options out of its records
        return set(engine.Options(**recorded).model_dump(mode="json")) != set(recorded)
    except UserError:  # the engine is not installed
        return False
    except ValueError:  # it has no such option any more
        return True


def chose_checkpoint(record: RunRecord) -> bool:
    """Whether validation rows in the run's language took part in choosing the checkpoint of its model."""
    train, training = record.identity.train, record.training
    if train is None or training is None or not training.best or not training.validation_rows:
        return False
    return record.identity.lang in train.validated_langs


def command_on(record: RunRecord, split: Split) -> str:
    """The command that makes the matching run on all rows of `split`; for an outdated record it first repeats the run."""
    if record.imported is not None:
        asked = ["--task", record.identity.task, "--lang", record.identity.lang, "--backend", record.identity.backend.name]
        words = [*asked, "--filter", record.imported.filter, "--split", split]
        return shlex.join(["bench", "results", "import", "lm-eval", "FILE", *words])
    return _repeated(record) + record.options.changed(split=split, limit=None).command()


def latency_command(record: RunRecord, limit: int | None = None) -> str:
    """The command that measures the latency of what the run did, on at most `limit` texts; like `command_on`.

    How scores become a label takes no time, so there are no options for it.
    """
    options = record.options.changed(calibration=None, decision=None, split="test", limit=limit)
    return _repeated(record) + shlex.join(["bench", "analyze", "latency", *options.arguments()])


def _repeated(record: RunRecord) -> str:
    return f"{record.options.command()} && " if is_outdated(record) else ""
