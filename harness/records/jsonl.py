"""The predictions of many runs at once: small files are parsed together, since each parse has a cost of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core.errors import RunError
from harness.core.json_files import canonical_json

TOGETHER = 1 << 25
"""Bytes that are parsed in one go at most; what is larger is streamed from its file."""


def read_tables(paths: Sequence[Path], schema: Any) -> Iterator[Any]:
    """The pyarrow table of each file, rows in the file's order, with the columns of `schema` (null where a row has none).

    Raises `RunError` for a file that is damaged or not there.
    """
    waiting: list[tuple[Path, bytes]] = []
    size = 0
    for path in paths:
        with _named(path):
            large = path.stat().st_size > TOGETHER
            content = b"" if large else path.read_bytes()
        if large or size + len(content) > TOGETHER:
            yield from _together(waiting, schema)
            waiting, size = [], 0
        if large:
            yield _alone(path, None, schema)
        else:
            waiting.append((path, content))
            size += len(content)
    yield from _together(waiting, schema)


def _together(files: Sequence[tuple[Path, bytes]], schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    counts = [content.count(b"\n") for _, content in files]
    try:
        table = _parsed(pa.BufferReader(b"".join(content for _, content in files)), schema) if files else None
    except pa.ArrowInvalid:
        table = None
    if table is None or table.num_rows != sum(counts):  # one of them is odd: each for itself says which
        yield from (_alone(path, content, schema) for path, content in files)
        return
    table = table.combine_chunks()
    start = 0
    for count in counts:
        yield table.slice(start, count)
        start += count


def _alone(path: Path, content: bytes | None, schema: Any) -> Any:
    import pyarrow as pa

    with _named(path):
        try:
            return _parsed(path if content is None else pa.BufferReader(content), schema).combine_chunks()
        except pa.ArrowInvalid:  # an id with half a surrogate pair is JSON to Python alone; a damaged line is one to nobody
            with path.open(encoding="utf-8") as file:
                return _by_python([json.loads(line) for line in file], schema)


def _parsed(source: Any, schema: Any) -> Any:
    from pyarrow import json as arrow

    options = arrow.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return arrow.read_json(source, parse_options=options)


def _by_python(records: Sequence[Mapping[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    columns = {name: [record.get(name) for record in records] for name in schema.names}
    columns["id"] = [canonical_json(record["id"])[1:-1] for record in records]
    return pa.table(columns, schema=schema)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is a `RunError` that names the file."""
    try:
        yield
    except (FileNotFoundError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} can't be read ({type(error).__name__}: {error}).", "`bench run --force` makes it anew."
        ) from error
