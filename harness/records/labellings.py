"""Records of labellings: what `bench label` leaves beside the file that it writes.

    results/labels/<id>/           a finished labelling
        labelling.json             identity, options, counts, tokens, cost, timing, machine; digest of the labels
        labels.jsonl               one line per row: id, digest of the text, label, status, probabilities, tokens
    results/labels/<id>.partial/   an unfinished one, with its journal

Like records of runs they hold no text.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.durable import commit
from harness.core.errors import UserError
from harness.core.json_files import canonical_json, parse_object, pretty_json, sealed, unsealed, write_atomically
from harness.core.labelling import LABELLING_VERSION, LabellingRecord
from harness.core.record import read_part
from harness.records.journal import JOURNAL, Journal
from harness.records.shared import publish
from harness.records.store import Store, damage_named

LABELS, MANIFEST = "labels.jsonl", "labelling.json"
DAMAGE_HINT = "Restore it from a copy, or repeat its `bench label` with --force."


@dataclass(frozen=True)
class Labellings:
    """The folder of all labellings (`results/labels`)."""

    root: Path

    def folder(self, name: str) -> Path:
        return self.root / name

    def ids(self) -> list[str]:
        """Of all finished labellings."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{MANIFEST}") if not path.parent.name.endswith(".partial"))

    def find(self, part: str) -> Path:
        """The folder of the labelling whose id is `part`, or the only one that contains it. Raises `UserError`."""
        names = self.ids()
        hits = [part] if part in names else [name for name in names if part in name]
        if len(hits) == 1:
            return self.root / hits[0]
        if not hits:
            there = f"There are: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}." if names else ""
            hint = f"{there} `bench label --task NAME --lang CODE --split train` labels the training rows of a task.".strip()
            raise UserError(f"There is no labelling {part!r} in {self.root}.", hint)
        raise UserError(f"{part!r} matches {len(hits)} labellings.", f"Name one of them: {', '.join(hits[:6])}")

    def begun(self, name: str) -> bool:
        """Whether an unfinished labelling has left a journal."""
        return (self.root / f"{name}.partial" / JOURNAL).exists()

    @contextmanager
    def journal(self, name: str) -> Iterator[Journal]:
        """Open the journal of a labelling, new or unfinished. Raises `RunBusy`."""
        with Store(self.root).journal(name) as journal:
            yield journal

    def finish(self, record: LabellingRecord, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Turn the open journal into the finished record, in one rename; an earlier one is deleted. `rows`: the lines of
        the file of labels."""
        partial, final = self.root / f"{record.run_id}.partial", self.root / record.run_id
        content = "".join(canonical_json(row) + "\n" for row in rows)
        digest = hashlib.sha256(content.encode()).hexdigest()
        write_atomically(partial / LABELS, content)
        manifest = record.model_copy(update={"labels_sha256": digest}).manifest()
        write_atomically(partial / MANIFEST, pretty_json(sealed(manifest)))
        replaced = self.root / f"{record.run_id}.replaced.partial"
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            final.replace(replaced)
        commit(partial, final)
        shutil.rmtree(replaced, ignore_errors=True)
        (final / JOURNAL).unlink(missing_ok=True)
        publish(final)
        return final


def read_labelling(folder: Path) -> tuple[LabellingRecord, list[dict[str, Any]]]:
    """A finished labelling and its lines, checked. Raises `DamagedRecord`."""
    with damage_named(folder / MANIFEST, DAMAGE_HINT) as path:
        content, _ = unsealed(path.read_bytes())
        if content["version"] != LABELLING_VERSION:
            raise ValueError(f"version {content['version']!r} is unknown: a newer version of bench wrote it")
        record = read_part(LabellingRecord, content)
    with damage_named(folder / LABELS, DAMAGE_HINT) as path:
        data = path.read_bytes().replace(b"\r\n", b"\n")  # Git on Windows may have changed the line ends
        if hashlib.sha256(data).hexdigest() != record.labels_sha256:
            raise ValueError("its content is not what was written")
        return record, [parse_object(line) for line in data.split(b"\n") if line]


def finished_labelling(folder: Path) -> bool:
    """Whether there is one, intact or not."""
    return (folder / MANIFEST).exists()
