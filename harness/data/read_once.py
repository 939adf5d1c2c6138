"""Files of rows, read once in a process: a task with six languages in one file asks for it a dozen times."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from harness.data.formats import USUAL, read_file, shards_of
from harness.data.json_tables import ColumnLists
from harness.specs.tasks import CsvFormat

MOST_BYTES = 1 << 28
"""Of all files that are remembered, as they lie on disk; the latest one is remembered whatever its size."""

_remembered: OrderedDict[Any, tuple[ColumnLists, int]] = OrderedDict()


def read_once(path: Path, csv: CsvFormat = USUAL, sheet: str | None = None) -> ColumnLists:
    """As `read_file`. A file whose size and time of change are as before is not read again, so nobody may change the lists.

    A folder is read each time: its files would have to be looked at one by one.
    """
    try:
        states = [(str(file.absolute()), (state := file.stat()).st_mtime_ns, state.st_size) for file in shards_of(path)]
    except OSError:
        states = []
    if path.is_dir() or not states:
        return read_file(path, csv, sheet)
    key = (tuple(states), csv.model_dump_json(), sheet)
    if key not in _remembered:
        _remembered[key] = read_file(path, csv, sheet), sum(size for _, _, size in states)
    _remembered.move_to_end(key)
    while len(_remembered) > 1 and sum(size for _, size in _remembered.values()) > MOST_BYTES:
        _remembered.popitem(last=False)
    return _remembered[key][0]
