"""Changes to records that a test wants to have been written so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.json_files import pretty_json
from harness.records.store import DIGESTS, MANIFEST, _with_digests


def unseal(folder: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Change run.json, and take out what would tell of a change to any file of the record."""
    path = folder / "run.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for key in ("digests", "run_id"):
        manifest.pop(key, None)
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change run.json as if it had been written so."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    digests = {file: value for file, value in manifest[DIGESTS].items() if file != MANIFEST}
    path.write_text(pretty_json(_with_digests(manifest, digests)), encoding="utf-8")
