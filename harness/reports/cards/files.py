"""The files of a trained model as a repository of its own holds them: weights, tokenizer, and a config that knows the labels.

What the cache keeps for bench alone stays there (the record of the training, exports to other runtimes), and nothing that
goes out tells of this machine's folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness.core.engine import ROBERTAS
from harness.core.errors import RunError, UserError
from harness.models.checkpoint_files import FILES
from harness.reports.cards.facts import Subject
from harness.reports.cards.snippets import output_names, problem_type
from harness.reports.cards.tables import outdated, run_command

OWN = ("training.json",)
"""What bench keeps beside the weights for itself."""

_OF_THIS_MACHINE = ("_name_or_path", "name_or_path", "_commit_hash", "tokenizer_file", "is_local", "local_files_only")


@dataclass(frozen=True)
class RepositoryFile:
    """`path` is where it goes, with forward slashes; `content` a file of this machine, or the bytes themselves."""

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def model_files(subject: Subject) -> list[RepositoryFile]:
    """By path. Raises `UserError` where the model is not on this machine, `RunError` where it is not the one of the record."""
    folder = subject.folder
    if not folder.is_dir():
        raise UserError(f"The trained model of {subject.entry.run_id} is not on this machine.", _again(subject))
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in OWN and any(fnmatch(path.name, pattern) for pattern in FILES):
            found.append(RepositoryFile(name, _content(path, name, subject)))
    weights = [file for file in found if file.path.endswith(".safetensors")]
    if not weights or "config.json" not in [file.path for file in found]:
        raise RunError(f"{folder} is not whole: it has no weights, or no config.json.", f"Delete it. {_again(subject)}")
    return found


def _again(subject: Subject) -> str:
    command = run_command(subject)
    if outdated(subject):
        return f"An earlier version of bench made the record. Train anew, and name the run that this makes: `{command}`."
    return f"This trains it again, and repeats the run: `{command} --force`. (Or set BENCH_CACHE to the cache that has it.)"


def _content(path: Path, name: str, subject: Subject) -> Path | bytes:
    """Small JSON files without what concerns this machine; everything else as it is."""
    if not fnmatch(path.name, "*config*.json") and path.name != "special_tokens_map.json":
        return path
    content = without_places(json.loads(path.read_text(encoding="utf-8")))
    if subject.head != "setfit" and name == "config.json":
        content = _labelled(content, subject)
    if subject.head != "setfit" and name == "tokenizer_config.json":
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        content = {**content, "model_max_length": _longest(content, config, subject)}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def without_places(value: Any) -> Any:
    """JSON without the keys and values that name a place on a machine."""
    if isinstance(value, Mapping):
        return {
            key: without_places(inner)
            for key, inner in value.items()
            if key not in _OF_THIS_MACHINE and not (isinstance(inner, str) and _is_place(inner))
        }
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


def _is_place(text: str) -> bool:
    """An absolute path of two parts or more. A lone `/` may be a token."""
    return re.match(r"(/|~/|[A-Za-z]:[\\/])[^\s]+[\\/][^\s]", text) is not None


def _labelled(config: dict[str, Any], subject: Subject) -> dict[str, Any]:
    """The config with the labels of the task in place of LABEL_0 ...; raises `RunError` where it has another number of them."""
    names = output_names(subject)
    had = len(config["id2label"]) if "id2label" in config else 2  # transformers leaves out what is its default
    if had != len(names):
        raise RunError(
            f"The model in {subject.folder} has {had} outputs, and the run {len(names)}.",
            f"Delete that folder. {_again(subject)}",
        )
    return {
        **config,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": problem_type(subject),
    }


def _longest(tokenizer: Mapping[str, Any], config: Mapping[str, Any], subject: Subject) -> int:
    """The number of tokens that texts were cut to in training: what `truncation=True` is to mean to everybody else."""
    asked = int(subject.identity["backend"]["options"]["max_length"])
    positions = config.get("max_position_embeddings") or -1
    # The positions of RoBERTa and its kin begin after that of the padding.
    offset = config["pad_token_id"] + 1 if config.get("model_type") in ROBERTAS else 0
    known = tokenizer.get("model_max_length")
    return min([asked, *([int(known)] if known else []), *([positions - offset] if positions > 0 else [])])
