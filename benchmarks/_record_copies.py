"""Many run records, made from real ones: each copy is of another task, so its identity, id and digests are its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.core.json_files import parse_object, pretty_json
from harness.core.record import Identity
from harness.records.store import DIGESTS, MANIFEST, METRICS, PREDICTIONS, _with_digests


def copy_records(source: Path, root: Path, runs: int) -> int:
    """Write `runs` copies of the records in `source` to `root`; returns how many there are.

    The copies of one round have tasks of their own (`reviews-0007`). So there are as many sets of rows a record as in `source`.
    """
    names = sorted(path.parent.name for path in source.glob(f"*/{MANIFEST}"))
    for number in range(runs):
        made, place = divmod(number, len(names))
        _copy(source / names[place], root, made)
    return runs


def _copy(folder: Path, root: Path, made: int) -> None:
    manifest = parse_object((folder / MANIFEST).read_bytes())
    task = f"{manifest['identity']['task']}-{made:04d}"
    manifest["identity"]["task"] = task
    if "task" in manifest.get("options", {}):
        manifest["options"]["task"] = task
    manifest["run_id"] = Identity.model_validate(manifest["identity"]).run_id
    copied = root / manifest["run_id"]
    copied.mkdir(parents=True)
    for name in (METRICS, PREDICTIONS):
        shutil.copyfile(folder / name, copied / name)
    if DIGESTS in manifest:
        manifest = _with_digests(manifest, manifest[DIGESTS])
    (copied / MANIFEST).write_text(pretty_json(manifest), encoding="utf-8")
