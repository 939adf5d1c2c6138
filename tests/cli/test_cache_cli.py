"""`bench cache` as a user calls it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from console import Said

from harness.core.locks import held
from harness.models.cache import About

DAY = 86400.0
KEYS = ["aa" + "0" * 18, "ab" + "0" * 18, "cc" + "0" * 18]


@pytest.fixture
def own(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that no other test uses: three models of 2 KiB, not used for 40, 10 and 0 days; an answer; a leftover."""
    cache = project / "cache"
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    for key, days in zip(KEYS, (40, 10, 0), strict=True):
        model = cache / "trained" / key / "model"
        model.mkdir(parents=True)
        (model / "weights").write_bytes(b"x" * 2048)
        about = About(task="[red]", backend="b|c", model=None, langs=("en", "ja"), rows=1200)
        (model.parent / "about.json").write_text(about.model_dump_json())
        for path in (model / "weights", model.parent / "about.json", model):
            os.utime(path, (time.time() - days * DAY,) * 2)
    (cache / "trained" / KEYS[2] / "scratch").mkdir()
    (cache / "trained" / KEYS[2] / "scratch" / "w").write_bytes(b"x" * 512)
    os.utime(cache / "trained" / KEYS[2] / "scratch" / "w", (time.time() - DAY,) * 2)
    os.utime(cache / "trained" / KEYS[2] / "scratch", (time.time() - DAY,) * 2)
    (cache / "answers").mkdir()
    (cache / "answers" / "a.0123456789.jsonl").write_text("{}")
    return cache


def there(cache: Path) -> list[str]:
    return sorted(path.name[:2] for path in (cache / "trained").iterdir())


def test_an_empty_cache(bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(project / "none"))
    assert bench("cache", "--json").json["bytes"] == 0
    assert bench("cache", "dir").out == f"{project / 'none'}\n"
    assert bench("cache", "prune", "--all", "--json").json["removed"] == []
    assert not (project / "none").exists()


def test_the_parts(bench: Any, own: Path) -> None:
    said = bench("cache", "--json").json
    assert {key: said[key] for key in ("folder", "leftover_bytes")} == {"folder": str(own), "leftover_bytes": 512}
    parts = {part["part"]: part for part in said["parts"]}
    assert list(parts) == ["trained", "models", "embeddings", "answers", "overlap", "known", "page"]
    assert [parts[name]["count"] for name in ("trained", "answers", "models")] == [3, 1, 0]
    assert said["bytes"] == sum(part["bytes"] for part in parts.values()) == parts["trained"]["bytes"] + 2
    rows = [line.split("\t") for line in bench("cache").out.splitlines()]
    assert rows[1][:3] == ["trained", "trained models", "3"]


def test_a_part_elsewhere_is_named_and_not_counted(bench: Any, own: Path, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (own / "models").symlink_to(tmp_path / "big")
    part = next(part for part in bench("cache", "--json").json["parts"] if part["part"] == "models")
    assert (part["count"], part["bytes"], part["link"]) == (0, 0, str(tmp_path / "big"))
    assert f"\t-\ta link to {tmp_path / 'big'}\t" in bench("cache").out


def test_leftovers_alone_are_pruned(bench: Any, own: Path) -> None:
    dry = bench("cache", "prune", "--dry-run", "--json").json
    assert dry["dry_run"]
    assert [(one["name"], one["bytes"], one["leftover"]) for one in dry["removed"]] == [
        (f"{KEYS[2]}/scratch", 512, "left by a killed process")
    ]
    assert (own / "trained" / KEYS[2] / "scratch").is_dir()
    assert bench("cache", "prune", "--json").json == {**dry, "dry_run": False}
    assert not (own / "trained" / KEYS[2] / "scratch").exists()
    assert there(own) == ["aa", "ab", "cc"]


@pytest.mark.parametrize(("days", "left"), [("30", ["ab", "cc"]), ("7", ["cc"]), ("0.5", ["cc"]), ("0", [])])
def test_what_was_not_used_is_pruned_on_demand(bench: Any, own: Path, days: str, left: list[str]) -> None:
    bench("cache", "prune", "--older-than", days, "--dry-run")
    assert there(own) == ["aa", "ab", "cc"]
    said = bench("cache", "prune", "--older-than", days)
    assert (said.code, said.err) == (0, "")
    assert there(own) == left
    assert (own / "answers" / "a.0123456789.jsonl").exists()


def test_the_table_names_what_goes(bench: Any, own: Path) -> None:
    rows = [line.split("\t") for line in bench("cache", "prune", "--all", "--dry-run").out.splitlines()[1:-1]]
    assert rows[0] == ["trained", "aa000000", "2.1 KiB", "40 days ago", "b|c on [red] (en+ja)"]
    assert rows[3][1] == "cc000000/scratch"
    assert rows[-1][:2] == ["answers", "1 file"]


def test_all_is_everything(bench: Any, own: Path) -> None:
    said = bench("cache", "prune", "--all", "--json").json
    assert {one["part"] for one in said["removed"]} == {"trained", "answers"}
    assert bench("cache", "--json").json["bytes"] == 0


@pytest.mark.parametrize("days", ["-1", "soon", ""])
def test_ages_that_are_no_number_delete_nothing(bench: Any, own: Path, days: str) -> None:
    said = bench("cache", "prune", "--older-than", days)
    assert said.code == 2
    assert "--older-than" in said.err
    assert there(own) == ["aa", "ab", "cc"]


def test_what_is_in_use_is_kept_and_named(bench: Any, own: Path) -> None:
    with held(own / "trained" / KEYS[2] / "lock", wait=False):
        said = bench("cache", "prune", "--all")
        assert said.code == 0
        assert said.err == "kept: trained/cc000000: in use\n"
        kept = bench("cache", "prune", "--all", "--json").json["kept"]
        assert [(one["name"], one["why"]) for one in kept] == [(KEYS[2], "in use")]
    assert there(own) == ["cc"]


@pytest.mark.slow
def test_a_model_that_is_uploaded_is_in_use(
    bench: Any, own: Path, two_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    from harness.cli import push
    from harness.reports.cards import repository as cards

    facts = SimpleNamespace(folder=own / "trained" / KEYS[0] / "model", run=SimpleNamespace(run_id=two_runs[0]))
    during: list[Said] = []

    def uploaded(repository: str, *arguments: Any, **options: Any) -> Any:
        during.append(bench("cache", "prune", "--older-than", 0, "--json"))
        return cards.Upload(repository, "https://hub/commit", {})

    monkeypatch.setattr(push, "read_facts", lambda *arguments: facts)
    monkeypatch.setattr(push, "_files", lambda *arguments: {})
    monkeypatch.setattr(cards, "upload", uploaded)
    assert bench("model", "push", two_runs[0], "somebody/model").code == 0
    assert [one["name"] for said in during for one in said.json["kept"]] == [KEYS[0]]
    assert bench("cache", "prune", "--older-than", 1, "--dry-run", "--json").json["removed"] == []  # used now


def test_json_before_the_command_is_not_lost_silently(bench: Any, own: Path) -> None:
    said = bench("cache", "--json", "prune")
    assert said.code == 2
    assert "after `prune`" in said.err


@pytest.mark.parametrize("command", [[], ["prune"]], ids=" ".join)
def test_help_is_plain_and_whole(bench: Any, command: list[str]) -> None:
    said = bench("cache", *command, "--help")
    assert said.code == 0
    assert "--json" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.slow
def test_the_doctor_says_how_large_it_is(bench: Any, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.cli import doctor

    monkeypatch.setattr(doctor, "_hub", lambda: "can't be reached")
    assert f"cache: {own} (6.7 KiB; see `bench cache`)\n" in bench("doctor").out
