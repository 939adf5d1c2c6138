"""A `model:` resolves to a folder and to a revision that names its weights, or says why not. No network."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.cache_folder import cache_dir
from harness.core.errors import ModelUnavailable, UnknownName, UserError
from harness.models import hub_access
from harness.models.checkpoints import INDEX, OFFLINE_HINT, Checkpoint, content_hash, resolve_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def safetensors(content: bytes = b"weights", name: str = "w") -> bytes:
    """A file with one tensor of bytes."""
    header = json.dumps({name: {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    return len(header).to_bytes(8, "little") + header + content


def write_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(safetensors())
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def hub() -> Any:
    return pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub_cache(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache of its own, and a hub that is asked (whatever the environment says)."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(hub, "is_offline_mode", lambda: False)
    return folder


def write_snapshot(hub_cache: Path) -> Path:
    """org/name in the layout of the hub's cache, `main` being COMMIT."""
    repository = hub_cache / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return write_checkpoint(repository / "snapshots" / COMMIT)


def failing(error: Exception) -> Callable[..., Any]:
    def call(*args: object, **kwargs: object) -> Any:
        raise error

    return call


def http_module(hub: Any) -> Any:
    """httpx or httpx2, by the version of the hub's client."""
    errors = importlib.import_module("huggingface_hub.errors")
    return importlib.import_module(errors.HTTPError.__module__.partition(".")[0])


# Local folders


def test_a_local_folder_resolves_without_telling_where_it_lies(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "secret" / "mine")
    found = resolve_checkpoint(str(folder))
    assert found == Checkpoint(folder, "path", "mine", content_hash(folder))
    assert "secret" not in found.name + found.revision


@pytest.mark.parametrize("written", ["./models/mine", "models/mine", "../w/models/mine", "models/mine/"])
def test_relative_paths_and_bare_names_of_folders_are_local(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "w" / "models" / "mine")
    monkeypatch.chdir(tmp_path / "w")
    found = resolve_checkpoint(written)
    assert (found.source, found.name) == ("path", "mine")
    assert found.folder.is_absolute()


def test_the_current_folder_and_the_home_folder_can_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(write_checkpoint(tmp_path / "mine"))
    assert resolve_checkpoint(".").name == "mine"
    assert resolve_checkpoint("~/mine").name == "mine"


@pytest.mark.parametrize(
    ("missing", "complaint"), [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("", "does not exist")]
)
def test_what_a_local_folder_lacks_is_named(missing: str, complaint: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    if missing:
        (folder / missing).unlink()
    else:
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=complaint) as caught:
        resolve_checkpoint(str(folder))
    assert "safetensors" in caught.value.hint


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    with pytest.raises(UserError, match="is a file: name the folder"):
        resolve_checkpoint(str(folder / "model.safetensors"))


def test_pickled_weights_are_refused_with_a_way_to_convert_them(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"only in pytorch_model\.bin") as caught:
        resolve_checkpoint(str(folder))
    assert "save_pretrained" in caught.value.hint


def test_a_sharded_folder_needs_every_shard(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(UserError, match=r"lacks 1 of 2 weight files: model-00002-of-00002\.safetensors"):
        resolve_checkpoint(str(folder))
    (folder / shards["b"]).write_bytes(safetensors(b"more"))
    assert resolve_checkpoint(str(folder)).source == "path"
    (folder / INDEX).write_text("[]")
    with pytest.raises(UserError, match="can't be read"):
        resolve_checkpoint(str(folder))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 134217728\n"


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("model.safetensors", b"", "damaged model.safetensors: its 0 bytes begin with no header"),
        ("model.safetensors", b"weights", "its 7 bytes begin with no header"),
        ("model.safetensors", safetensors()[:-3], r"damaged model.safetensors: it has 72 bytes, and 75 by its header"),
        ("model.safetensors", safetensors() + b"more", "it has 79 bytes, and 75 by its header"),
        ("model.safetensors", safetensors()[:30], "cut off in it"),
        ("model.safetensors", b"\xff" * 100, "cut off in it"),
        ("model.safetensors", b"\4" + bytes(7) + b"nope", "its header can't be read"),
        ("model.safetensors", b"\4" + bytes(7) + b"[[]]", "its header can't be read"),
        ("model.safetensors", b"\x08" + bytes(7) + b'{"a":{}}', "its header can't be read"),
        ("model.safetensors", POINTER.encode(), "holds model.safetensors as a pointer of Git LFS only"),
        ("tokenizer.json", POINTER.encode(), "holds tokenizer.json as a pointer of Git LFS only"),
        ("config.json", b"{", "config.json that can't be read"),
        ("config.json", b"[]", "config.json that can't be read: it holds a list"),
        ("config.json", b"[" * 100_000, "config.json that can't be read: it is nested too deeply"),
        ("config.json", b"\xff\xfe", "config.json that can't be read"),
        ("config.json", b'{"attn_implementation": "org/kernel"}', "names a kernel of the hub"),
        ("generation_config.json", b"{", "damaged generation_config.json: it is no JSON"),
        ("tokenizer_config.json", b"<html>", "damaged tokenizer_config.json: it is no JSON"),
        ("adapter_config.json", b"{}", "holds an adapter"),
    ],
)
def test_damage_is_named_before_anything_is_loaded(file: str, content: bytes, complaint: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=complaint) as caught:
        resolve_checkpoint(str(folder))
    assert caught.value.hint
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "weights.bin", ""])
def test_an_index_names_files_of_its_folder_only(shard: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (tmp_path / "secret.safetensors").write_bytes(safetensors())
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(UserError, match=r"names what is no safetensors file of the folder"):
        resolve_checkpoint(str(folder))


def test_the_content_hash_is_of_the_content_only(tmp_path: Path) -> None:
    one, two = write_checkpoint(tmp_path / "one"), write_checkpoint(tmp_path / "deep" / "two")
    os.utime(two / "model.safetensors", (1, 1))
    (two / "README.md").write_text("not part of it")
    (two / "consolidated.safetensors").write_bytes(b"the same weights once more")
    assert content_hash(one) == content_hash(two)

    hashes = {content_hash(one)}
    changes: list[Callable[[], object]] = [
        lambda: (two / "model.safetensors").write_bytes(b"Weights"),
        lambda: (two / "tokenizer.json").write_text('{"other": 1}'),
        lambda: (two / "chat_template.jinja").write_text("{{ messages }}"),
        lambda: (two / "tokenizer.json").rename(two / "vocab.json"),
    ]
    for change in changes:
        change()
        hashes.add(content_hash(two))
    assert len(hashes) == 1 + len(changes)


# Names


@pytest.mark.parametrize(
    ("model", "revision", "expected"),
    [
        ("org/name", None, ("org/name", None)),
        ("name", None, ("name", None)),
        ("org/name@v1.0", None, ("org/name", "v1.0")),
        ("org/name@refs/pr/3", None, ("org/name", "refs/pr/3")),
        ("org/name", "v2", ("org/name", "v2")),
        ("org/name@v2", "v2", ("org/name", "v2")),
    ],
)
def test_a_hub_name_and_its_revision(
    model: str, revision: str | None, expected: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def hub_folder(repository: str, wanted: str | None) -> Path:
        asked.append((repository, wanted))
        return Path("snapshots") / COMMIT

    monkeypatch.setattr("harness.models.checkpoints._hub_folder", hub_folder)
    assert resolve_checkpoint(model, revision) == Checkpoint(Path("snapshots") / COMMIT, "hub", model, COMMIT)
    assert asked == [expected]


@pytest.mark.parametrize("model", ["", "a/b/c", "org/", "org/name@", "two words", "https://host/org/name", "org\\name"])
def test_what_can_be_no_model_is_refused(model: str) -> None:
    with pytest.raises(UserError, match="can't be the name of a hub repository"):
        resolve_checkpoint(model)


def test_two_different_revisions_are_refused() -> None:
    with pytest.raises(UserError, match="names one revision"):
        resolve_checkpoint("org/name@v1", "v2")


@pytest.mark.parametrize("model", ["packaged:minilm", "./mine"])
def test_only_hub_models_have_revisions(model: str) -> None:
    with pytest.raises(UserError, match="only hub models"):
        resolve_checkpoint(model, "v1")


def test_an_unknown_packaged_model_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="minilm"):
        resolve_checkpoint("packaged:minilmm")


def test_the_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "c"))
    assert cache_dir() == tmp_path / "c"
    monkeypatch.setenv("BENCH_CACHE", "")
    assert cache_dir() != tmp_path / "c"
    assert "bench" in cache_dir().parts


# The hub


def test_a_hub_out_of_reach_is_said_at_once(hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.HfApi, "model_info", failing(http_module(hub).ConnectError("Name or service not known")))
    start = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"org/name at revision v1 could not be had: no connection") as caught:
        resolve_checkpoint("org/name@v1")
    assert time.monotonic() - start < 5
    assert caught.value.hint == OFFLINE_HINT


def test_a_hub_that_never_answers_is_given_up(hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_access, "HUB_SECONDS", 0.05)
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *args, **kwargs: time.sleep(5))
    start = time.monotonic()
    with pytest.raises(ModelUnavailable, match="no connection"):
        resolve_checkpoint("org/name")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    ("error_name", "status", "complaint"),
    [
        ("RepositoryNotFoundError", 401, r"no such repository.*\(401\)"),
        ("HfHubHTTPError", 404, r"no such repository.*\(404\)"),
        ("GatedRepoError", 403, "gated"),
        ("RevisionNotFoundError", 404, "no such revision"),
        ("HfHubHTTPError", 503, "the hub answered 503"),
    ],
)
def test_the_reason_of_a_refusal_is_told(
    error_name: str, status: int, complaint: str, hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = http_module(hub)
    response = http.Response(status, request=http.Request("GET", "https://hub.invalid/api/models/org/name"))
    error = getattr(importlib.import_module("huggingface_hub.errors"), error_name)("refused", response=response)
    monkeypatch.setattr(hub.HfApi, "model_info", failing(error))
    with pytest.raises(ModelUnavailable, match=complaint):
        resolve_checkpoint("org/name")


def repository_of(hub: Any, *names: str) -> Callable[..., Any]:
    siblings = [{"rfilename": name} for name in names]
    return lambda *args, **kwargs: hub.ModelInfo(id="org/name", sha=COMMIT, siblings=siblings)


def test_a_repository_without_safetensors_is_refused_before_anything_is_fetched(
    hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.HfApi, "model_info", repository_of(hub, "config.json", "pytorch_model.bin", "onnx/m.safetensors"))
    monkeypatch.setattr(hub, "snapshot_download", checked_download(hub_cache, online=False))
    with pytest.raises(ModelUnavailable, match=r"org/name at revision main .* no safetensors"):
        resolve_checkpoint("org/name")


def checked_download(hub_cache: Path, *, online: bool) -> Callable[..., str]:
    """snapshot_download that writes a snapshot if asked to go online (which must be expected)."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(repository: str, *, local_files_only: bool, **patterns: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("nothing cached")
        assert online, "nothing may be fetched"
        return str(write_snapshot(hub_cache))

    return download


def test_a_repository_is_fetched_and_named_by_its_commit(hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.HfApi, "model_info", repository_of(hub, "config.json", "model.safetensors"))
    monkeypatch.setattr(hub, "snapshot_download", checked_download(hub_cache, online=True))
    found = resolve_checkpoint("org/name")
    assert (found.source, found.name, found.revision) == ("hub", "org/name", COMMIT)
    assert (found.folder / "model.safetensors").is_file()


def test_a_cached_snapshot_serves_without_the_hub(hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_snapshot(hub_cache)
    monkeypatch.setattr(hub.HfApi, "model_info", failing(http_module(hub).ConnectError("down")))
    assert resolve_checkpoint("org/name") == Checkpoint(folder, "hub", "org/name", COMMIT)
    with pytest.raises(ModelUnavailable):
        resolve_checkpoint("org/name@v2")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable):
        resolve_checkpoint("org/name")


@pytest.mark.parametrize(("offline", "model"), [(True, "org/name"), (False, f"org/name@{COMMIT}")])
def test_the_hub_is_not_asked_when_offline_or_for_a_cached_commit(
    offline: bool, model: str, hub: Any, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_snapshot(hub_cache)
    monkeypatch.setattr(hub, "is_offline_mode", lambda: offline)
    asked: list[object] = []
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *args, **kwargs: asked.append(args))
    assert resolve_checkpoint(model).folder == folder
    assert asked == []
    if offline:
        shutil.rmtree(folder)
        with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE is set"):
            resolve_checkpoint(model)
