"""Runs and predictions as Arrow tables, and these as pandas frames for notebooks; docs/notebooks.md lists the columns.

pandas is an extra (`notebooks`): only the frames need it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import MissingExtra, RunError, UserError
from harness.core.plain import encodable
from harness.core.record import Identity
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries, read_entry
from harness.records.jsonl import read_tables
from harness.records.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

RUN_COLUMNS: dict[str, str] = {
    **dict.fromkeys(("run", "configuration", "task", "lang", "split", "rows", "label_kind"), "string"),
    **dict.fromkeys(("n", "ok", "unparsed", "failed"), "int64"),
    **dict.fromkeys(("backend", "engine", "model", "how", "prompt", "decoding", "calibration", "decision"), "string"),
    "few_shot_examples": "Int64",
    "train_langs": "string",
    "train_count": "Int64",
    "seed": "int64",
    "limit": "Int64",
    "finished": "datetime64[s, UTC]",
    **dict.fromkeys(("rows_per_second", "training_seconds", "peak_memory_host_mib", "peak_memory_gpu_mib"), "float64"),
    **dict.fromkeys(("prompt_tokens", "new_tokens"), "Int64"),
    "usd": "float64",
    **dict.fromkeys(("cpu", "gpu"), "string"),
    "cores": "Int64",
}
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
    """A row per finished run, in the order of the ids: what was run, how, metrics with their intervals, time, cost, machine.

    A metric is three columns: `accuracy`, `accuracy_low`, `accuracy_high`; NaN where a run does not have it. Columns and
    dtypes are the same for any runs, but for which metrics there are. Raises `MissingExtra` without pandas, `UserError` where
    there is no folder `results`. A damaged record is left out; the logger `bench` warns of it.
    """
    pandas = _pandas()
    entries = read_entries(_store(results))
    table = runs_table(entries, {name for entry in entries for name in entry.record.metrics.values})
    frame: DataFrame = table.to_pandas(types_mapper=_nullable(pandas).get)
    return frame.astype(RUN_COLUMNS)


def runs_table(entries: Sequence[Entry], metric_names: Collection[str]) -> Any:
    """A pyarrow table with a row per entry, in their order, and the columns of `load_runs` for these metrics."""
    import pyarrow as pa

    rows = [_run_row(entry) for entry in entries]
    columns = {name: pa.array([_value(row[name]) for row in rows], _arrow_type(dtype)) for name, dtype in RUN_COLUMNS.items()}
    metrics = {
        name + end: pa.array([getattr(entry.record.metrics.values.get(name), key, None) for entry in entries], pa.float64())
        for name in sorted(metric_names)
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
    }
    return pa.table({**columns, **metrics})


def _value(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value


def _arrow_type(dtype: str) -> Any:
    """Of a column whose pandas dtype this is."""
    import pyarrow as pa

    types = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "datetime64[s, utc]": pa.timestamp("s", "UTC")}
    return types.get(dtype.lower(), pa.string())


def _nullable(pandas: Any) -> dict[Any, Any]:
    """Arrow type -> the pandas dtype that keeps what is missing apart from any value."""
    import pyarrow as pa

    return {pa.int64(): pandas.Int64Dtype(), pa.bool_(): pandas.BooleanDtype(), pa.string(): pandas.StringDtype()}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra("pandas", "notebooks", "A frame of the runs") from error
    return pandas


def _store(results: Path | str) -> Store:
    if not Path(results).is_dir():
        raise UserError(f"There is no folder {results}, so there are no runs.", "Name the folder that holds `runs`.")
    return Store(Path(results) / "runs")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _run_row(entry: Entry) -> dict[str, Any]:
    """By column of `RUN_COLUMNS`; None where a run, or a record of an earlier version, does not have it."""
    record, metrics, identity = entry.record, entry.record.metrics, entry.record.identity
    prompt, train, machine = identity.prompt, identity.train, record.machine
    return {
        "run": entry.run_id,
        "configuration": entry.configuration,
        **{name: getattr(identity, name) for name in ("task", "lang", "split", "rows", "label_kind", "seed")},
        **{name: getattr(metrics, name) for name in ("n", "ok", "unparsed", "failed")},
        "backend": entry.backend,
        "engine": identity.backend.engine,
        "model": identity.backend.model,
        "how": entry.how,
        "prompt": prompt and prompt.name,
        "decoding": prompt and prompt.decoding,
        "calibration": prompt and prompt.calibration,
        "decision": identity.decision,
        "few_shot_examples": len(prompt.shots) if prompt else None,
        "train_langs": "+".join(train.langs) if train else None,
        "train_count": train and train.train_count,
        "limit": record.options.limit,
        "finished": _time(record.finished),
        "rows_per_second": record.timing.rows_per_second,
        "training_seconds": record.training and record.training.seconds,
        "peak_memory_host_mib": record.peak_memory_mib.host,
        "peak_memory_gpu_mib": record.peak_memory_mib.gpu,
        "prompt_tokens": record.tokens.prompt,
        "new_tokens": record.tokens.new,
        "usd": record.cost and record.cost.usd,
        "cpu": machine.cpu,
        "gpu": machine.gpu,
        "cores": machine.cores,
    }


def load_predictions(runs: str | Sequence[str] | None = None, results: Path | str = "results") -> DataFrame:
    """A row per run and test row, the runs in the order asked for, their rows in the order of the record.

    `runs`: ids, or parts that only one run has; default: all runs. Columns: `PREDICTION_COLUMNS`, and p_0, p_1, ...
    (float64) with the probabilities, as many as the largest label space has; NaN where a run or a row has none. For runs of a
    multilabel task `truth` and `label` are missing, the names are joined by commas, and truth_0, ..., label_0, ... (boolean)
    say of each label whether it is true and whether it was answered; these are there only with such runs. Raises as
    `load_runs` does, and `UserError` for a run that is not there.
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
    shaped = [_shaped_or_named(store, name, tables[name], identity) for name, identity in identities.items()]
    table = pa.concat_tables([_empty(), *shaped], promote_options="default")
    for place, (name, dtype) in enumerate(PREDICTION_COLUMNS.items()):
        if dtype == "category":
            table = table.set_column(place, name, table[name].dictionary_encode().unify_dictionaries())
    most = max((len(identity.labels) for identity in identities.values()), default=0)
    ends = [f"{stem}_{i}" for stem in ("p", "truth", "label") for i in range(most)]
    return table.select([*PREDICTION_COLUMNS, *(name for name in ends if name in table.column_names)])


def _empty() -> Any:
    """So that the columns are there without any run."""
    import pyarrow as pa

    return pa.schema([(name, _arrow_type(dtype)) for name, dtype in PREDICTION_COLUMNS.items()]).empty_table()


def _tables(store: Store, identities: Mapping[str, Identity]) -> dict[str, Any]:
    """The predictions of each run as they are recorded; labels of a multilabel task are lists."""
    import pyarrow as pa

    found: dict[str, Any] = {}
    for label, several in ((pa.int64(), False), (pa.list_(pa.int64()), True)):
        fields = {**dict.fromkeys(("id", "text", "status", "reason"), pa.string()), "truth": label, "label": label}
        schema = pa.schema({**fields, "probabilities": pa.list_(pa.float64())})
        names = [name for name, identity in identities.items() if (identity.label_kind is LabelKind.MULTILABEL) is several]
        paths = [store.root / name / "predictions.jsonl" for name in names]
        found.update(zip(names, read_tables(paths, schema), strict=True))
    return found


def _shaped_or_named(store: Store, name: str, table: Any, identity: Identity) -> Any:
    try:
        return _shaped(name, table, identity)
    except (LookupError, ValueError) as error:  # Arrow's own are among them
        path = store.root / name / "predictions.jsonl"
        raise RunError(f"{path} is damaged ({error}).", "Delete that run's folder, or restore it.") from error


def _shaped(name: str, table: Any, identity: Identity) -> Any:
    """The columns of one run, but for those that are missing in all of its rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = table.combine_chunks()
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    truth, label, names = columns["truth"], columns["label"], pa.array(map(encodable, identity.labels), pa.string())
    made = {"run": pa.repeat(name, len(table)), **{column: columns[column] for column in ("id", "text", "status", "reason")}}
    if identity.label_kind is LabelKind.MULTILABEL:
        sets = {"truth": _indicators(truth, len(names)), "label": _indicators(label, len(names))}
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


def _indicators(lists: Any, k: int) -> Any:
    """Booleans of shape (n, k), from lists of label indices."""
    found = np.zeros((len(lists), k), dtype=bool)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    found[np.repeat(np.arange(len(lists)), lengths), lists.flatten().to_numpy(zero_copy_only=False)] = True
    return found


def _joined(lists: Any, names: Any) -> Any:
    """The names of the labels of each row, joined by commas; null where there is no answer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, names.take(lists.flatten())), ", ")
    return pc.if_else(lists.is_valid(), joined, pa.scalar(None, pa.string()))
