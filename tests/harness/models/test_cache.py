"""What the cache holds, what is left over in it, and that nothing else is ever deleted."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.locks import held
from harness.models import cache as contents_of
from harness.models.cache import PARTS, Item, contents, prunable, prune, summaries
from harness.models.packaged import packaged_model

DAY = 86400.0
KEYS = [letter * 20 for letter in "abc"]
MINILM = f"minilm-{packaged_model('minilm').revision[:8]}"
RUN = "toy.en.model.plain.free.s0.0123456789.jsonl"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def write(path: Path, size: int = 100, days: float = 0.0) -> Path:
    """A file; it and its folder were last written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    for touched in (path, path.parent):
        os.utime(touched, (time.time() - days * DAY,) * 2)
    return path


def write_trained(cache: Path, key: str, size: int = 100, days: float = 0.0) -> Path:
    folder = cache / "trained" / key
    write(folder / "model" / "model.safetensors", size, days)
    return folder


def write_all(cache: Path) -> None:
    """Something in every part."""
    write_trained(cache, KEYS[0])
    for path in (
        f"models/{MINILM}/model.safetensors",
        f"models/.{MINILM}.lock",
        f"embeddings/{'0' * 20}-{'1' * 20}.safetensors",
        f"answers/{RUN}",
        f"overlap/{'0' * 64}.json",
        f"overlap/{'0' * 64}.lock",
        f"known/torch-{'0' * 20}.json",
        "page/vega-0.0.js",
    ):
        write(cache / path, 0, days=1) if path.endswith(".lock") else write(cache / path)  # of an earlier version


def named(found: Sequence[Item]) -> list[str]:
    return [f"{item.part}/{item.name}" for item in found]


def useful(cache: Path) -> list[Item]:
    return [item for item in contents(cache) if not item.leftover]


def leftovers(cache: Path) -> list[Item]:
    return [item for item in contents(cache) if item.leftover]


def everything_pruned(cache: Path, *, dry_run: bool = False) -> dict[str, str]:
    """By part, why items stayed; empty where they did not."""
    return {item.part: why for item, why in prune(cache, contents(cache), dry_run=dry_run)}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_every_part_is_listed_and_can_be_deleted(cache: Path) -> None:
    assert contents(cache) == []
    write_all(cache)
    found = useful(cache)
    assert [item.part for item in found] == list(PARTS)
    assert [item.size for item in found] == [100] * len(PARTS)
    assert everything_pruned(cache, dry_run=True) == dict.fromkeys(PARTS, "")
    assert useful(cache) == found
    assert everything_pruned(cache) == dict.fromkeys(PARTS, "")
    assert not [path for path in files(cache) if not path.endswith(".lock")]


def test_what_bench_did_not_put_there_stays(cache: Path) -> None:
    write_all(cache)
    others = ["notes.txt", "models/my-bert/model.safetensors", "models/minilm-mine/w", "trained/readme", "page/index.html"]
    others += [
        "answers/mine.jsonl",
        "overlap/a.json",
        "locks/other.lock",
        "trained/deadbeef/model/x",
        "models/.my-bert.partial/w",
    ]
    for path in others:
        write(cache / path, days=99)
    everything_pruned(cache)
    assert [path for path in files(cache) if not path.startswith(("models/.minilm", "overlap/000"))] == sorted(others)


def test_links_are_removed_and_not_followed(cache: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    write(away / "models" / MINILM / "w")
    inside = write_trained(away, KEYS[0])
    folder = write_trained(cache, KEYS[1])
    (folder / "model" / "more").symlink_to(away, target_is_directory=True)
    (cache / "trained" / KEYS[0]).symlink_to(inside, target_is_directory=True)
    (cache / "models").symlink_to(away / "models", target_is_directory=True)
    before = files(away)
    found = contents(cache)
    assert named(found) == [f"trained/{KEYS[0]}", f"trained/{KEYS[1]}"]
    assert found[0].size == 0
    assert [part.link for part in summaries(cache, found)] == [None, str(away / "models"), *[None] * (len(PARTS) - 2)]
    assert everything_pruned(cache) == {"trained": ""}
    assert sorted(cache.rglob("*")) == [cache / "models", cache / "trained"]
    assert files(away) == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_in_use_stays(cache: Path, dry_run: bool) -> None:
    write_all(cache)
    trained, running = cache / "trained" / KEYS[0], cache / "locks" / f"{'0' * 16}.lock"
    running.parent.mkdir()
    with (
        held(trained / "lock", wait=False),
        held(cache / "overlap" / f"{'0' * 64}.lock", wait=False),
        held(running, wait=False),
    ):
        done = everything_pruned(cache, dry_run=dry_run)
    assert done == {
        **dict.fromkeys(("trained", "overlap"), "in use"),
        **dict.fromkeys(("models", "answers"), "a run is in progress"),
        **dict.fromkeys(("embeddings", "known", "page"), ""),
    }
    assert (trained / "model" / "model.safetensors").exists()
    assert (cache / "answers" / RUN).exists()
    with held(cache / "models" / f".{MINILM}.lock", wait=False):
        assert everything_pruned(cache, dry_run=dry_run)["models"] == "in use"


def test_what_killed_processes_and_other_versions_left(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.2.3", "vl-convert-python": "4.5"}
    monkeypatch.setattr(contents_of, "version", versions.__getitem__)
    write_all(cache)
    trained = cache / "trained" / KEYS[0]
    kept_before = [path for path in files(cache) if path != "page/vega-0.0.js" and not path.endswith(".lock")]
    kept = [f"trained/{KEYS[0]}/onnx-1.2.3/g", f"trained/{KEYS[0]}/onnx-int8-1-1.2.3/g", "page/vega-4.5.js"]
    kept += [f"trained/{KEYS[1]}/scratch/checkpoint-5/w"]  # a training that can go on
    left = [
        f"trained/{KEYS[0]}/{name}/w"
        for name in ("scratch", "unfinished", ".scratch.removed", "onnx-1.1", "onnx-1.2.3.unfinished", "model.damaged-1")
    ]
    left += [f"trained/{KEYS[1]}/unfinished/half", f"trained/{KEYS[2]}/about.json", f"trained/.{'d' * 20}.removed/w"]
    left += [f"models/.{MINILM}.partial/wheels/w", "models/minilm-00000000/w", f"models/.{MINILM}.removed/w"]
    left += [f"trained/{KEYS[0]}/onnx-1.2.3.damaged-1/g", f"models/{MINILM}.damaged-2/w"]
    left += [f"overlap/{'1' * 64}.json.0a1b2c3d.tmp", f"answers/{RUN}.0a1b2c3d.tmp", "page/vega-0.0.js"]
    for path in (*kept, *left):
        write(cache / path, days=1)
    os.utime(cache / "models" / f".{MINILM}.partial", (time.time() - DAY,) * 2)
    assert {item.name: item.leftover for item in leftovers(cache) if "/" in item.name} == {
        f"{KEYS[0]}/model.damaged-1": "damaged and replaced",
        f"{KEYS[0]}/onnx-1.2.3.damaged-1": "damaged and replaced",
        f"{KEYS[0]}/.scratch.removed": "left by a killed process",
        f"{KEYS[0]}/onnx-1.2.3.unfinished": "left by a killed process",
        f"{KEYS[0]}/scratch": "left by a killed process",
        f"{KEYS[0]}/unfinished": "left by a killed process",
        f"{KEYS[0]}/onnx-1.1": "made by another version",
        f"{KEYS[1]}/unfinished": "left by a killed process",
    }
    with held(trained / "lock", wait=False):
        assert not any(item.name.startswith(KEYS[0]) for item in leftovers(cache))
    assert not any(why for _, why in prune(cache, prunable(contents(cache))))
    assert [path for path in files(cache) if not path.endswith(".lock")] == sorted([*kept_before, *kept])


def test_sizes_add_up_to_what_is_on_disk(cache: Path) -> None:
    write_trained(cache, KEYS[0], 1000)
    write(cache / "trained" / KEYS[0] / "unfinished" / "w", 10, days=1)
    assert [(item.name, item.size) for item in contents(cache)] == [(KEYS[0], 1000), (f"{KEYS[0]}/unfinished", 10)]


def test_a_file_that_may_just_be_written_is_no_leftover(cache: Path) -> None:
    """It has no lock that would say so."""
    path = write(cache / "page" / "vega-1.js.0a1b2c3d.tmp")
    begun = cache / "trained" / KEYS[0]
    begun.mkdir(parents=True)
    assert leftovers(cache) == []
    for one in (path, begun):
        os.utime(one, (time.time() - DAY,) * 2)
    assert named(leftovers(cache)) == [f"trained/{KEYS[0]}", "page/vega-1.js.0a1b2c3d.tmp"]


def test_items_go_by_when_they_were_last_used(cache: Path) -> None:
    for key, days in zip(KEYS, (5, 40, 20), strict=True):
        write_trained(cache, key, 1000, days)
    write(cache / "trained" / KEYS[1] / "scratch" / "w", 10, days=1)  # goes with its folder
    write(cache / "overlap" / f"{'0' * 64}.json", days=40)
    write(cache / "answers" / RUN, days=40)
    found = contents(cache)

    def names(days: float | None = None) -> list[str]:
        since = None if days is None else time.time() - days * DAY
        return [item.name[:1] + item.name[20:][:8] for item in prunable(found, since)]

    assert names() == ["b/scratch"]
    assert names(30) == ["b", "b/scratch", "000000000"]
    assert names(10) == ["b", "b/scratch", "c", "000000000"]
    assert prunable(found, everything=True) == found
    assert not any(why for _, why in prune(cache, prunable(found, time.time() - 10 * DAY)))
    assert named(contents(cache)) == [f"trained/{KEYS[0]}", f"answers/{RUN}"]


def test_a_model_is_as_old_as_its_last_use(cache: Path) -> None:
    model = write_trained(cache, KEYS[0], days=40) / "model"
    assert len(prunable(contents(cache), time.time() - 30 * DAY)) == 1
    os.utime(model)
    assert prunable(contents(cache), time.time() - 30 * DAY) == []


def test_an_interrupted_training_is_as_old_as_its_last_checkpoint(cache: Path) -> None:
    scratch = cache / "trained" / KEYS[0] / "scratch"
    for number, days in ((1, 50), (2, 40)):
        write(scratch / f"checkpoint-{number}" / "w", days=days)
    os.utime(scratch, (time.time() - 40 * DAY,) * 2)
    found = contents(cache)
    assert leftovers(cache) == []
    assert prunable(found, time.time() - 45 * DAY) == []
    assert prunable(found, time.time() - 35 * DAY) == found


def test_a_killed_deletion_leaves_no_half_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trained(cache, KEYS[0])

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(cache, contents(cache))
    assert useful(cache) == []
    assert everything_pruned(cache) == {"trained": ""}
    assert files(cache) == []


def test_what_the_system_does_not_let_go_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(cache)

    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if "lock" not in self.name:  # filelock deletes its files by the same method
            raise PermissionError(13, "Permission denied")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    done = everything_pruned(cache)
    assert (done["trained"], done["page"]) == ("", "can't be deleted: Permission denied")
