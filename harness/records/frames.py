"""Runs and predictions as Arrow tables and pandas frames (extra `notebooks`); docs/notebooks.md lists the columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import MissingExtra, UserError
from harness.core.places import folder_of
from harness.core.plain import encodable
from harness.core.record import Identity
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries, read_entry
from harness.records.predictions import indicators, read_tables, schema_of
from harness.records.shared import open_results
from harness.records.store import PREDICTIONS, Store, damage_named

if TYPE_CHECKING:
    from pandas import DataFrame

_RUN_FIELDS: dict[str, tuple[str, str]] = {
    "run": ("string", "run_id"),
    "configuration": ("string", "configuration"),
    **{name: ("string", f"record.identity.{name}") for name in ("task", "lang", "split", "rows", "label_kind")},
    **{name: ("int64", f"record.metrics.{name}") for name in ("n", "ok", "unparsed", "failed")},
    "backend": ("string", "backend"),
    "engine": ("string", "record.identity.backend.engine"),
    "model": ("string", "record.identity.backend.model"),
    "parameters": ("Int64", "checkpoint.parameters"),
    "stored": ("string", "checkpoint.stored"),
    "base": ("string", "checkpoint.base"),
    "how": ("string", "how"),
    "prompt": ("string", "record.identity.prompt.name"),
    "decoding": ("string", "record.identity.prompt.decoding"),
    "calibration": ("string", "record.identity.prompt.calibration"),
    "decision": ("string", "record.identity.decision"),
    "few_shot_examples": ("Int64", "record.identity.prompt.examples"),
    "train_langs": ("string", "record.identity.train.langs"),
    "train_count": ("Int64", "record.identity.train.train_count"),
    "labels_from": ("string", "record.identity.train.labels_from.labelling"),
    "seed": ("int64", "seed"),
    "limit": ("Int64", "record.options.limit"),
    "finished": ("datetime64[s, UTC]", "record.finished"),
    "rows_per_second": ("float64", "record.timing.rows_per_second"),
    "training_seconds": ("float64", "record.training.seconds"),
    "peak_memory_host_mib": ("float64", "record.peak_memory_mib.host"),
    "peak_memory_gpu_mib": ("float64", "record.peak_memory_mib.gpu"),
    "prompt_tokens": ("Int64", "record.tokens.prompt"),
    "new_tokens": ("Int64", "record.tokens.new"),
    "usd": ("float64", "record.cost.usd"),
    "cpu": ("string", "record.machine.cpu"),
    "gpu": ("string", "record.machine.gpu"),
    "cores": ("Int64", "record.machine.cores"),
}
"""Column -> its dtype, and where an `Entry` has the value."""
_AS_SHOWN: dict[str, Callable[[Any], Any]] = {
    "train_langs": "+".join,
    "finished": datetime.fromisoformat,
}

RUN_COLUMNS = {name: dtype for name, (dtype, _) in _RUN_FIELDS.items()}
"""Columns of `load_runs` and their dtypes; the metrics follow, three of float64 each."""

PREDICTION_COLUMNS: dict[str, str] = {
    "run": "category",
    "id": "string",
    "text": "string",
    "truth": "Int64",
    "label": "Int64",
    "truth_name": "category",
    "label_name": "category",
    "status": "category",
    "reason": "category",
    "correct": "bool",
}
"""Columns of `load_predictions` and their dtypes; then come probabilities."""


def load_runs(results: Path | str = "results") -> DataFrame:
    """One row per finished run, sorted by id: configuration, metrics with their intervals, time, cost, machine.

    A metric is three columns: `accuracy`, `accuracy_low`, `accuracy_high`; NaN if a run does not have it. Apart from the
    metrics, columns and dtypes are the same for any runs. Raises `MissingExtra` without pandas, `UserError` if there is no
    folder `results`. A damaged record is left out; the logger `bench` warns of it.
    """
    pandas = _pandas()
    entries = read_entries(_store(results))
    table = runs_table(entries, {name for entry in entries for name in entry.record.metrics.values})
    frame: DataFrame = table.to_pandas(types_mapper=_nullable(pandas).get)
    return frame.astype(RUN_COLUMNS)


def runs_table(entries: Sequence[Entry], metric_names: Collection[str]) -> Any:
    """A pyarrow table with one row per entry and the columns of `load_runs` for these metrics."""
    import pyarrow as pa

    columns = {
        name: pa.array([_cell(entry, name) for entry in entries], _arrow_type(dtype)) for name, dtype in RUN_COLUMNS.items()
    }
    metrics = {
        name + end: pa.array([getattr(entry.record.metrics.values.get(name), key, None) for entry in entries], pa.float64())
        for name in sorted(metric_names)
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
    }
    return pa.table({**columns, **metrics})


def _arrow_type(dtype: str) -> Any:
    """The Arrow type of a column with this pandas dtype."""
    import pyarrow as pa

    types = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "datetime64[s, utc]": pa.timestamp("s", "UTC")}
    return types.get(dtype.lower(), pa.string())


def _nullable(pandas: Any) -> dict[Any, Any]:
    """Arrow type -> the pandas dtype with missing values."""
    import pyarrow as pa

    return {pa.int64(): pandas.Int64Dtype(), pa.bool_(): pandas.BooleanDtype(), pa.string(): pandas.StringDtype()}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra("pandas", "notebooks", "A frame of the runs") from error
    return pandas


def _store(results: Path | str) -> Store:
    folder = folder_of(results)
    open_results(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {results}, so there are no runs.", "Name the folder that contains `runs`.")
    return Store(folder / "runs")


def _cell(entry: Entry, column: str) -> Any:
    """None if a run, or a record of an earlier version, does not have it."""
    value: Any = entry
    for name in _RUN_FIELDS[column][1].split("."):
        value = None if value is None else getattr(value, name)
    value = value if value is None else _AS_SHOWN.get(column, lambda found: found)(value)
    return encodable(value) if isinstance(value, str) else value


def load_predictions(runs: str | Sequence[str] | None = None, results: Path | str = "results") -> DataFrame:
    """One row per run and test row; runs in the given order, rows in the order of the record.

    `runs`: ids, or unique parts of ids; default: all runs. Columns: `PREDICTION_COLUMNS`, and the probabilities p_0, p_1, ...
    (float64) for the largest label space; NaN if missing. For runs of a multilabel task `truth` and `label` are missing, the
    names are joined by commas, and the boolean columns truth_0, ..., label_0, ... hold whether each label is true and
    predicted. Raises as `load_runs` does, and `UserError` for an unknown run.
    """
    pandas = _pandas()
    frame: DataFrame = predictions_table(runs, results).to_pandas(types_mapper=_nullable(pandas).get)
    return frame.astype(PREDICTION_COLUMNS)


def predictions_table(runs: str | Sequence[str] | None = None, results: Path | str = "results") -> Any:
    """The pyarrow table of `load_predictions`."""
    import pyarrow as pa

    store = _store(results)
    if runs is None:
        entries = read_entries(store)
    else:
        entries = [read_entry(store, store.find(part)) for part in ([runs] if isinstance(runs, str) else runs)]
    identities = {entry.run_id: entry.record.identity for entry in entries}
    tables = _tables(store, identities)
    shaped = []
    for name, identity in identities.items():
        with damage_named(store.root / name / PREDICTIONS):
            shaped.append(_shaped(name, tables[name], identity))
    table = pa.concat_tables([_empty(), *shaped], promote_options="default")
    for place, (name, dtype) in enumerate(PREDICTION_COLUMNS.items()):
        if dtype == "category":
            table = table.set_column(place, name, table[name].dictionary_encode().unify_dictionaries())
    most = max((len(identity.labels) for identity in identities.values()), default=0)
    ends = [f"{stem}_{i}" for stem in ("p", "truth", "label") for i in range(most)]
    return table.select([*PREDICTION_COLUMNS, *(name for name in ends if name in table.column_names)])


def _empty() -> Any:
    """The columns without any run."""
    import pyarrow as pa

    return pa.schema([(name, _arrow_type(dtype)) for name, dtype in PREDICTION_COLUMNS.items()]).empty_table()


def _tables(store: Store, identities: Mapping[str, Identity]) -> dict[str, Any]:
    """The predictions of each run as recorded; labels of a multilabel task are lists."""
    found: dict[str, Any] = {}
    for kind in {identity.label_kind for identity in identities.values()}:
        names = [name for name, identity in identities.items() if identity.label_kind is kind]
        paths = [store.root / name / PREDICTIONS for name in names]
        found.update(zip(names, read_tables(paths, schema_of(kind)), strict=True))
    return found


def _shaped(name: str, table: Any, identity: Identity) -> Any:
    """The columns of one run, without those that are empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = table.combine_chunks()
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    truth, label, names = columns["truth"], columns["label"], pa.array(map(encodable, identity.labels), pa.string())
    made = {"run": pa.repeat(name, len(table)), **{column: columns[column] for column in ("id", "text", "status", "reason")}}
    if identity.label_kind is LabelKind.MULTILABEL:
        sets = {"truth": indicators(truth, len(names)) > 0, "label": indicators(label, len(names)) > 0}
        made["correct"] = pa.array(
            (sets["truth"] == sets["label"]).all(axis=1) & label.is_valid().to_numpy(zero_copy_only=False)
        )
        for stem, found in sets.items():
            made |= {
                f"{stem}_{i}": pa.array(found[:, i], mask=~columns[stem].is_valid().to_numpy(zero_copy_only=False))
                for i in range(len(names))
            }
        made |= {"truth_name": _joined(truth, names), "label_name": _joined(label, names)}
    else:
        made |= {"truth": truth, "label": label, "correct": pc.fill_null(pc.equal(truth, label), False)}
        made |= {"truth_name": names.take(truth), "label_name": names.take(label)}
    if columns["probabilities"].null_count < len(table):
        made |= {f"p_{i}": pc.list_element(columns["probabilities"], i) for i in range(len(names))}
    return pa.table(made)


def _joined(lists: Any, names: Any) -> Any:
    """The label names of each row, joined by commas; null if there is no answer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, names.take(lists.flatten())), ", ")
    return pc.if_else(lists.is_valid(), joined, pa.scalar(None, pa.string()))
