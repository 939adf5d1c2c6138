"""What the cache holds, what is left over in it, and that nothing else is ever deleted."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from harness.core.locks import held
from harness.models import cache as contents_of
from harness.models.cache import IN_USE, PARTS, Kept, beside, contents, leftovers, outer, total
from harness.models.cache_room import prunable, remove
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
        f"answers/{RUN}",
        f"overlap/{'0' * 64}.json",
        f"overlap/{'0' * 64}.lock",
        "page/vega-0.0.js",
        f"locks/{'0' * 16}.lock",
    ):
        write(cache / path, 0, days=1) if path.endswith(".lock") else write(cache / path)  # of an earlier version


def named(found: list[Kept]) -> list[str]:
    return [f"{one.part}/{one.name}" for one in found]


def everything(cache: Path) -> list[Kept]:
    kept, left = contents(cache), leftovers(cache)
    return [*kept, *beside(kept, left)]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_every_part_is_listed_and_can_be_deleted(cache: Path) -> None:
    assert contents(cache) == leftovers(cache) == []
    write_all(cache)
    found = contents(cache)
    assert [one.part for one in found] == list(PARTS)
    assert [one.size for one in found] == [100, 100, 100, 100, 100, 0]
    done = remove(cache, everything(cache), dry_run=True)
    assert len(done.removed) == 6
    assert total(contents(cache)) == 500
    assert remove(cache, everything(cache)).skipped == ()
    assert files(cache) == []


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
    remove(cache, everything(cache))
    assert files(cache) == sorted(others)


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
    assert named(found) == [f"trained/{KEYS[0]}", f"trained/{KEYS[1]}", "models/models"]
    assert [found[0].size, found[2].size] == [0, 0]
    assert leftovers(cache) == []
    assert remove(cache, found).skipped == ()
    assert list(cache.rglob("*")) == [cache / "trained"]
    assert files(away) == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_in_use_stays(cache: Path, dry_run: bool) -> None:
    write_all(cache)
    trained, model = cache / "trained" / KEYS[0], cache / "models" / f".{MINILM}.lock"
    twins = cache / "overlap" / f"{'0' * 64}.lock"
    run = cache / "locks" / f"{'0' * 16}.lock"
    with (
        held(trained / "lock", wait=False),
        held(model, wait=False),
        held(twins, wait=False),
        held(run, wait=False),
    ):
        done = remove(cache, contents(cache), dry_run=dry_run)
    assert [one.part for one in done.removed] == ["page"]
    assert {one.part: why for one, why in done.skipped} == {
        **dict.fromkeys(("trained", "models", "overlap", "locks"), IN_USE),
        "answers": "a run is under way",
    }
    assert (trained / "model" / "model.safetensors").exists()
    assert (cache / "answers" / RUN).exists()


def test_what_killed_processes_and_other_versions_left(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.2.3", "vl-convert-python": "4.5"}
    monkeypatch.setattr(contents_of, "version", versions.__getitem__)
    write_all(cache)
    trained, useful = cache / "trained" / KEYS[0], files(cache)
    useful = [path for path in useful if path != "page/vega-0.0.js" and not path.endswith(".lock")]
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
    assert named([one for one in leftovers(cache) if not outer(one)]) == [
        f"trained/{KEYS[0]}/model.damaged-1",
        f"trained/{KEYS[0]}/onnx-1.2.3.damaged-1",
        f"trained/{KEYS[0]}/.scratch.removed",
        f"trained/{KEYS[0]}/onnx-1.2.3.unfinished",
        f"trained/{KEYS[0]}/scratch",
        f"trained/{KEYS[0]}/unfinished",
        f"trained/{KEYS[0]}/onnx-1.1",
        f"trained/{KEYS[1]}/unfinished",
    ]
    with held(trained / "lock", wait=False):
        assert not any(one.name.startswith(KEYS[0]) for one in leftovers(cache))
    assert remove(cache, prunable(contents(cache), leftovers(cache))).skipped == ()
    assert [path for path in files(cache) if not path.endswith(".lock")] == sorted([*useful, *kept])


def test_a_file_that_may_just_be_written_is_no_leftover(cache: Path) -> None:
    """It has no lock that would say so."""
    path = write(cache / "page" / "vega-1.js.0a1b2c3d.tmp")
    begun = cache / "trained" / KEYS[0]
    begun.mkdir(parents=True)
    assert leftovers(cache) == []
    for one in (path, begun):
        os.utime(one, (time.time() - DAY,) * 2)
    assert named(leftovers(cache)) == [f"trained/{KEYS[0]}", "page/vega-1.js.0a1b2c3d.tmp"]


def test_trained_models_go_by_when_they_were_last_used(cache: Path) -> None:
    for key, days in zip(KEYS, (5, 40, 20), strict=True):
        write_trained(cache, key, 1000, days)
    write(cache / "trained" / KEYS[1] / "scratch" / "w", 10, days=1)  # goes with its folder
    kept, left = contents(cache), leftovers(cache)

    def names(since: float | None = None, largest: int | None = None) -> list[str]:
        return [one.name[:1] + one.name[20:] for one in prunable(kept, left, since, largest)]

    assert names() == ["b/scratch"]
    assert names(time.time() - 30 * DAY) == ["b"]
    assert names(time.time() - 10 * DAY) == ["b", "c"]
    assert names(largest=3000) == ["b/scratch"]
    assert names(largest=2999) == ["b"]
    assert names(largest=2000) == ["b"]
    assert names(time.time() - 30 * DAY, 1999) == ["b", "c"]
    assert names(largest=0) == ["b", "c", "a"]


def test_an_interrupted_training_is_as_old_as_its_last_checkpoint(cache: Path) -> None:
    scratch = cache / "trained" / KEYS[0] / "scratch"
    for number, days in ((1, 50), (2, 40)):
        write(scratch / f"checkpoint-{number}" / "w", days=days)
    kept = contents(cache)
    assert leftovers(cache) == []
    assert prunable(kept, [], time.time() - 45 * DAY) == []
    assert prunable(kept, [], time.time() - 35 * DAY) == kept


def test_what_was_used_while_the_user_was_asked_stays(cache: Path) -> None:
    write_trained(cache, KEYS[0], days=40)
    (cache / "trained" / KEYS[1]).mkdir()
    write(cache / "trained" / KEYS[1] / "lock", 0, days=40)
    found = [*contents(cache), *leftovers(cache)]
    assert [one.name for one in found] == KEYS[:2]
    os.utime(cache / "trained" / KEYS[0] / "model")
    write_trained(cache, KEYS[1])
    done = remove(cache, found)
    assert [why for _, why in done.skipped] == ["used just now"] * 2
    assert [one.name for one in contents(cache)] == KEYS[:2]


def test_a_killed_deletion_leaves_no_half_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trained(cache, KEYS[0])

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(cache, contents(cache))
    assert contents(cache) == []
    assert remove(cache, leftovers(cache)).skipped == ()
    assert files(cache) == []


def test_what_the_system_does_not_let_go_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(cache)

    def refused(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    done = remove(cache, [one for one in contents(cache) if one.part in ("page", "trained")])
    assert [one.part for one in done.removed] == ["trained"]
    assert [why for _, why in done.skipped] == ["can't be deleted: Permission denied"]
