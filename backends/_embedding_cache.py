"""Embeddings of training texts on disk: what a frozen encoder computed once, it need not compute again.

Each training writes what it computed as one whole new file and changes none, so that several processes, also on a shared
folder, never see half a file; at worst two of them hold the same texts. A file names texts by their sha256 only.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.durable import file_sha256
from harness.core.json_files import digest, write_atomically

log = logging.getLogger("bench")

PART = "embeddings"
"""Folder of the cache; `harness.models.cache` knows its files."""
VERSION = 1
"""Raised when the same checkpoint and settings give other embeddings, or the files another form."""
SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".tiktoken")

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """`seconds`: what it took to compute, its share of the time of all texts that were computed together."""

    vector: Vector
    seconds: float


class EmbeddingCache:
    def __init__(self, folder: Path, checkpoint: Path, settings: Mapping[str, Any]) -> None:
        """`settings`: all that an embedding depends on beside the files of `checkpoint` and the text."""
        self._folder = folder / PART
        self._key = digest([VERSION, _contents(checkpoint), dict(settings)])[:20]

    def read(self, texts: Sequence[str]) -> dict[str, Embedded]:
        """Those of the texts that earlier trainings left. Damaged files are deleted."""
        wanted = {_sha256(text): text for text in texts}
        found: dict[str, Embedded] = {}
        for path in sorted(self._folder.glob(f"{self._key}-*.safetensors")):
            try:
                names, vectors, seconds = _read(path)
            except OSError:  # another process deleted it, or it can't be read by this user
                continue
            except ValueError as error:
                log.info("The embeddings in %s are computed again: %s.", path, error)
                with suppress(OSError):
                    path.unlink()
                continue
            for index, name in enumerate(names):
                text = wanted.get(name.tobytes())
                if text is not None:
                    found[text] = Embedded(vectors[index], float(seconds[index]))
            with suppress(OSError):  # `bench cache prune --older-than` asks when it was used last
                os.utime(path)
        return found

    def write(self, embedded: Mapping[str, Embedded]) -> None:
        """A file of these texts. Where the folder can't be written the next training computes them again."""
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {
            "texts": np.frombuffer(b"".join(map(_sha256, embedded)), np.uint8).reshape(-1, 32),
            "vectors": np.stack([one.vector for one in embedded.values()]),
            "seconds": np.array([one.seconds for one in embedded.values()]),
        }
        name = hashlib.sha256(arrays["texts"].tobytes()).hexdigest()[:20]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            content = save(arrays, metadata={"sha256": _digest(arrays)})
            write_atomically(self._folder / f"{self._key}-{name}.safetensors", content)
        except OSError as error:
            log.info("Embeddings can't be kept in %s: %s.", self._folder, error.strerror)


def _read(path: Path) -> tuple[NDArray[np.uint8], Vector, NDArray[np.float64]]:
    """Names (n, 32), vectors (n, dimensions), seconds (n,). Raises `OSError`, and `ValueError` for a damaged file."""
    from safetensors import SafetensorError, safe_open

    path.stat()
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            expected = (file.metadata() or {}).get("sha256")
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if arrays.keys() != {"texts", "vectors", "seconds"} or _digest(arrays) != expected:
        raise ValueError("the file is not what was written")
    return arrays["texts"], arrays["vectors"], arrays["seconds"]


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    return digest({name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays})


def _contents(checkpoint: Path) -> list[list[str]]:
    """Name and sha256 of each file that a sentence encoder reads, also in its sub-folders."""
    files = sorted(path for path in checkpoint.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return [[path.relative_to(checkpoint).as_posix(), file_sha256(path)] for path in files]


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
