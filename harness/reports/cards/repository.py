"""A trained model's repository on the Hugging Face hub: its files, and the commit that uploads them.

Nothing in the files names this machine's folders. The token is the library's affair (HF_TOKEN, or its login): it is never an
argument and never shown.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness.core.durable import commit, damage_of, seal
from harness.core.engine import ROBERTAS, Classifier
from harness.core.errors import BenchError, RunError, UserError
from harness.core.json_files import read_json
from harness.models.checkpoints import FILES
from harness.reports.cards.facts import ModelFacts
from harness.specs.backend_specs import engine_class

OWN = ("training.json",)
"""What bench keeps beside the weights for itself."""

ADAPTERS, BASE = "adapter_config.json", "base.json"
"""In the folder of a model of which the adapters alone are kept; the second names the checkpoint that they change."""

_OF_THIS_MACHINE = ("_name_or_path", "name_or_path", "_commit_hash", "tokenizer_file", "is_local", "local_files_only")

LOG_IN = "Set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens), or log in: hf auth login."
LONGEST_MESSAGE = 300
"""Characters of a server's error message that are shown."""


Files = Mapping[str, Path | bytes]
"""By path in the repository: a file of this machine, or the bytes themselves."""


@dataclass(frozen=True)
class Upload:
    """`url` is that of the commit, None where none was made; `files` are what it holds, or would."""

    repository: str
    url: str | None
    files: Files

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size for path, content in self.files.items()
        }


def model_files(facts: ModelFacts) -> dict[str, Path | bytes]:
    """Weights, tokenizer and a config that knows the labels, by path.

    Raises `UserError` where the model is not on this machine, `RunError` where it is not the one of the record.
    """
    folder = facts.folder
    if not folder.is_dir():
        raise UserError(f"The trained model of {facts.run.run_id} is not on this machine.", _again(facts))
    if (folder / ADAPTERS).is_file():
        folder = _whole_model(facts)
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in OWN and any(fnmatch(path.name, pattern) for pattern in FILES):
            found[name] = _content(path, name, facts)
    if "config.json" not in found or not any(name.endswith(".safetensors") for name in found):
        raise RunError(f"{folder} is incomplete: it lacks weights or config.json.", f"Delete it. {_again(facts)}")
    return found


def _whole_model(facts: ModelFacts) -> Path:
    """A folder beside the adapters that were kept, with these merged into the checkpoint that they change. Made once.

    Raises `UserError` where that is impossible, `ModelUnavailable` where the checkpoint is gone.
    """
    whole, identity = facts.folder.parent / "whole", facts.run.identity
    if whole.is_dir() and not damage_of(whole):
        return whole
    kind = engine_class(identity.backend.engine)
    assert issubclass(kind, Classifier)
    options = identity.backend.options
    exact = {"device": "cpu", "predict": {"dtype": "float32"}, "train": {**options["train"], "precision": "auto"}}
    engine = kind(kind.Options.model_validate({**options, **exact}), Path(read_json(facts.folder / BASE)["folder"]))
    unfinished = whole.with_name("whole.unfinished")
    for folder in (whole, unfinished):
        shutil.rmtree(folder, ignore_errors=True)
    unfinished.mkdir()
    with closing(engine):
        engine.load(facts.folder, identity.label_space)
        engine.export(unfinished)
    seal(unfinished)
    commit(unfinished, whole)
    return whole


def _again(facts: ModelFacts) -> str:
    if facts.outdated:
        return f"An earlier version of bench made the record. Train again, and name the new run: `{facts.command}`."
    return f"Train it again: `{facts.command} --force`. Or set BENCH_CACHE to the cache that holds it."


def _content(path: Path, name: str, facts: ModelFacts) -> Path | bytes:
    """Small JSON files without what concerns this machine; everything else as it is."""
    if not fnmatch(path.name, "*config*.json") and path.name != "special_tokens_map.json":
        return path
    content = without_places(json.loads(path.read_text(encoding="utf-8")))
    if facts.head != "setfit" and name == "config.json":
        content = _labelled(content, facts)
    if facts.head != "setfit" and name == "tokenizer_config.json":
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        content = {**content, "model_max_length": _max_length(content, config, facts)}
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


def _labelled(config: Mapping[str, Any], facts: ModelFacts) -> dict[str, Any]:
    """The config with the labels of the task in place of LABEL_0 ...; raises `RunError` where it has another number of them."""
    names = facts.run.identity.labels
    if facts.head in ("coral", "corn"):
        names = [f"> {name}" for name in names[:-1]]  # an output says whether the answer is above that label
    had = len(config["id2label"]) if "id2label" in config else 2  # transformers leaves out what is its default
    if had != len(names):
        raise RunError(
            f"The model in {facts.folder} has {had} outputs, the run {len(names)}.", f"Delete that folder. {_again(facts)}"
        )
    return {
        **config,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        # By this a `pipeline` chooses softmax or sigmoid.
        "problem_type": f"{'single' if facts.head == 'softmax' else 'multi'}_label_classification",
    }


def _max_length(tokenizer: Mapping[str, Any], config: Mapping[str, Any], facts: ModelFacts) -> int:
    """The number of tokens that texts were cut to in training, for `truncation=True` to mean the same everywhere."""
    known = [int(facts.run.options["max_length"])]
    if tokenizer.get("model_max_length"):
        known.append(int(tokenizer["model_max_length"]))
    if (config.get("max_position_embeddings") or -1) > 0:
        # The positions of RoBERTa and its kin begin after that of the padding.
        offset = config["pad_token_id"] + 1 if config.get("model_type") in ROBERTAS else 0
        known.append(config["max_position_embeddings"] - offset)
    return min(known)


def check_names(repository: str, revision: str | None) -> None:
    """Raises `UserError` for what can't be the name of a repository, or of a branch. No network."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        reason = str(error).splitlines()[0].partition(": '")[0].rstrip(".:")  # what follows is the name again
        raise UserError(f"{repository!r} can't be the name of a repository: {reason}.", "Write OWNER/NAME.") from error
    if revision is not None and not re.fullmatch(r"[^\s~^:?*\[\\]+", revision):
        raise UserError(f"--revision {revision!r} can't be the name of a branch.", "Write a name such as main or v2.")


def upload(repository: str, files_for: Callable[[str], Files], message: str, *, private: bool, revision: str | None) -> Upload:
    """Create the repository and the branch where they are missing, and commit `files_for` the repository's full name.

    Raises `UserError` for a missing or refused token, a name that is not the user's, and `private` for a public repository;
    `RunError` where the hub can't be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    api = HfApi()
    try:
        if get_token() is None:
            raise UserError("There is no token for the Hugging Face hub on this machine.", LOG_IN)
        # None, and not False: the owner's settings on the hub decide whether a new repository is private.
        full = api.create_repo(repository, private=private or None, repo_type="model", exist_ok=True).repo_id
        if private and not api.model_info(full).private:
            raise UserError(
                f"{full} exists and is public; nothing was uploaded.",
                "Make it private on the hub, name another repository, or leave out --private.",
            )
        if revision is not None and revision != "main":
            api.create_branch(full, branch=revision, exist_ok=True)
        files = files_for(full)
        operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=content) for path, content in files.items()]
        commit = api.create_commit(full, operations, commit_message=message, repo_type="model", revision=revision)
    except BenchError:
        raise
    except Exception as error:  # HTTP library, file system and Rust uploader each raise errors of their own
        raise _as_ours(repository, error) from error
    return Upload(full, str(commit.commit_url), files)


def _as_ours(repository: str, error: Exception) -> BenchError:
    # HTTPError comes from here because the library below is httpx or httpx2, by the version of huggingface_hub.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    if isinstance(error, OfflineModeIsEnabled):
        return UserError("HF_HUB_OFFLINE is set, so nothing can be uploaded.", "Unset it, or use --dry-run.")
    if isinstance(error, HfHubHTTPError):
        status, message = error.response.status_code, str(error.server_message or error)
        if status == 401:
            return UserError("The Hugging Face hub does not know the token of this machine (401).", LOG_IN)
        if status in (403, 404):
            return UserError(
                f"The token of this machine may not write to {repository} ({status}).",
                f"Name a repository of your own or of your organisation. {LOG_IN}",
            )
        return RunError(
            f"The Hugging Face hub refused the upload to {repository} ({status}): {_safe(message)}.",
            "Fix this and re-run the command, or try later.",
        )
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return RunError(
            f"The connection to the Hugging Face hub failed during the upload to {repository}.",
            "Re-run the command: what was uploaded is not sent again. (--dry-run needs no connection.)",
        )
    return RunError(f"The upload to {repository} failed: {_safe(str(error) or type(error).__name__)}.", "Try again.")


def _safe(text: str) -> str:
    """On one line, without the token should a server have sent it back."""
    from huggingface_hub import get_token

    line, token = " ".join(text.split()), get_token()
    line = (line.replace(token, "***") if token else line).rstrip(".")
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]} ..."
