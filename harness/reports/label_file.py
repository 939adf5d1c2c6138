"""Files of rows with labels: that of `bench label` (the rows' own columns, and what the labelling found), and that of
`bench analyze data --suspects` (the rows whose labels a person should look at first)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.labelling import LabellingRecord
from harness.core.plain import encodable
from harness.core.types import Example, LabelSpace, Status

if TYPE_CHECKING:
    from harness.analysis.audit import Report

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
NO_TEXT = "no_text"
"""The reason of a row that has no text and is sent to no model."""

Columns = dict[str, list[Any]]


def names_of(labels: LabelSpace, *, probabilities: bool, tokens: bool, price: bool, prefix: str) -> list[str]:
    """The columns that are added."""
    names = ["label", *([f"p_{name}" for name in labels.names] if probabilities else []), "status", "reason"]
    names += (["prompt_tokens", "new_tokens"] if tokens else []) + (["usd"] if price else [])
    return [prefix + name for name in names]


def check_names(own: Sequence[str], added: Sequence[str], prefix: str) -> None:
    """Raise `UserError` where a column of the rows has the name of a new one."""
    twice = [name for name in added if name in own]
    if twice:
        hint = f"Put something before the names of the new columns: --prefix {prefix}llm_"
        raise UserError(f"The rows have a column {twice[0]!r} already.", hint)


def labelled_columns(
    own: Mapping[str, Sequence[Any]],
    examples: Sequence[Example | None],
    lines: Mapping[str, Mapping[str, Any]],
    labels: LabelSpace,
    added: Sequence[str],
    usd: tuple[float, float] | None,
    *,
    whole: bool,
) -> Columns:
    """`examples`: of each row of `own`. `lines`: of the labelling, by id. `added`: of `names_of`. `usd`: of
    `usd_per_token`. `whole`: keep rows without
    text, which have no line."""
    places = [place for place, row in enumerate(examples) if (whole if row is None else row.id in lines)]
    found: Columns = {name: [values[place] for place in places] for name, values in own.items()}
    rows = [examples[place] for place in places]
    cells = [_cells(_NO_TEXT if row is None else lines[row.id], labels, usd) for row in rows]
    prefix = added[0].removesuffix("label")
    return found | {name: [cell.get(name.removeprefix(prefix)) for cell in cells] for name in added}


def suspect_columns(reports: Sequence[Report], top: int | None, *, texts: bool) -> Columns:
    """Of each report (a language) the `top` most suspect rows (None: all), most suspect first. `texts`: with their texts."""
    found: Columns = {name: [] for name in ("lang", "rank", "id", *(["text"] if texts else []), *_SUSPECT)}
    for report in reports:
        label = report.task.label_space.names
        known = {row.id: row.text for row in report.splits[report.split]} if texts else {}
        for rank, suspect in enumerate(report.suspects.suspects[:top] if report.suspects else [], start=1):
            line = {"lang": report.lang, "rank": rank, "id": suspect.id, "text": known.get(suspect.id)}
            line |= {"label": label[suspect.given], "suggested": label[suspect.suggested], "score": round(suspect.score, 6)}
            line |= {"votes": suspect.votes, "models": suspect.models}
            for name, values in found.items():
                values.append(line[name])
    return found


_SUSPECT = ("label", "suggested", "score", "votes", "models")
_NO_TEXT: dict[str, Any] = {"label": None, "status": Status.FAILED, "reason": NO_TEXT}


def usd_per_token(record: LabellingRecord) -> tuple[float, float] | None:
    """US dollars for a token of a prompt and for one of an answer, such that all of them make the labelling's cost: discounts
    for cached tokens and of the Batch API are shared among the rows. None without a price."""
    cost, tokens = record.cost, record.tokens
    if cost is None or cost.prompt is None or cost.completion is None:
        return None
    full = (cost.prompt * (tokens.prompt or 0) + cost.completion * (tokens.new or 0)) / 1e6
    share = cost.usd / full if full else 1.0
    return cost.prompt / 1e6 * share, cost.completion / 1e6 * share


def _cells(line: Mapping[str, Any], labels: LabelSpace, usd: tuple[float, float] | None) -> dict[str, Any]:
    label, given, tokens = line["label"], line.get("probabilities"), line.get("tokens")
    named = None if label is None else [labels.names[k] for k in label] if isinstance(label, list) else labels.names[label]
    cells: dict[str, Any] = {"label": named, "status": str(line["status"]), "reason": line.get("reason")}
    if given is not None:
        cells |= {f"p_{name}": p for name, p in zip(labels.names, given, strict=True)}
    if tokens is not None:
        cells |= {"prompt_tokens": tokens[0], "new_tokens": tokens[1]}
        if usd is not None:
            cells["usd"] = round(usd[0] * tokens[0] + usd[1] * tokens[1], 9)
    return cells


def as_bytes(columns: Columns, path: Path) -> bytes:
    """The content of a file with one of `SUFFIXES`. Raises `UserError` for columns that Parquet can't hold."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(columns, path)
    rows = zip(*columns.values(), strict=True)
    if suffix == ".jsonl":
        lines = (
            json.dumps(dict(zip(columns, map(_finite, row), strict=True)), ensure_ascii=False, default=str) for row in rows
        )
        return encodable("".join(line + "\n" for line in lines)).encode()
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return encodable(text.getvalue()).encode()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _cell(value: Any) -> Any:
    """Lists as JSON, missing values empty."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else _finite(value)


def _parquet(columns: Columns, path: Path) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    content = io.BytesIO()
    try:
        parquet.write_table(pa.table(dict(columns)), content)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(
            f"--output {path}: a column holds values of several types ({error}).", "Write .jsonl instead."
        ) from error
    return content.getvalue()
