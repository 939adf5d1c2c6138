"""`bench cache` as a user calls it."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from console import Said

from harness.core.locks import held

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
        (model.parent / "about.json").write_text('{"task": "[red]", "backend": "b|c", "langs": ["en", "ja"], "rows": 1200}')
        os.utime(model, (time.time() - days * DAY,) * 2)
    (cache / "trained" / KEYS[2] / "scratch").mkdir()
    (cache / "trained" / KEYS[2] / "scratch" / "w").write_bytes(b"x" * 512)
    os.utime(cache / "trained" / KEYS[2] / "scratch" / "w", (time.time() - DAY,) * 2)
    os.utime(cache / "trained" / KEYS[2] / "scratch", (time.time() - DAY,) * 2)
    (cache / "answers").mkdir()
    (cache / "answers" / "a.0123456789.jsonl").write_text("{}")
    return cache


def there(cache: Path) -> list[str]:
    return sorted(path.name[:2] for path in (cache / "trained").iterdir())


def asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A terminal at which somebody answers."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))


def test_an_empty_cache(bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(project / "none"))
    assert f"The cache is empty: {project / 'none'}." in bench("cache").out
    assert bench("cache", "trained").out == f"There are no trained models in {project / 'none'}.\n"
    assert bench("cache", "trained", "--json").json == []
    said = bench("cache", "prune", "--yes")
    assert (said.code, said.out) == (0, f"There is nothing to delete: 0 B in {project / 'none'}.\n")
    assert not (project / "none").exists()


def test_the_parts(bench: Any, own: Path) -> None:
    said = bench("cache", "--json").json
    assert {key: said[key] for key in ("folder", "leftover_bytes")} == {"folder": str(own), "leftover_bytes": 512}
    parts = {part["part"]: part for part in said["parts"]}
    assert list(parts) == ["trained", "models", "answers", "overlap", "page", "locks"]
    assert [parts[name]["count"] for name in ("trained", "answers", "models")] == [3, 1, 0]
    assert said["bytes"] == sum(part["bytes"] for part in parts.values()) == parts["trained"]["bytes"] + 2
    text = bench("cache").out
    assert "trained\tmodels that bench trained\t3\t6." in text
    assert f" KiB in {own}, most of it models that bench trained. `bench cache prune` frees 512 B" in text


def test_a_part_elsewhere_is_named_and_not_counted(bench: Any, own: Path, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (own / "models").symlink_to(tmp_path / "big")
    part = next(part for part in bench("cache", "--json").json["parts"] if part["part"] == "models")
    assert (part["count"], part["bytes"], part["link"]) == (0, 0, str(tmp_path / "big"))
    assert f"\t-\ta link to {tmp_path / 'big'}\t" in bench("cache").out


def test_trained_models_the_longest_unused_first(bench: Any, own: Path) -> None:
    rows = bench("cache", "trained", "--json").json
    assert [row["key"] for row in rows] == KEYS
    shown = ("task", "backend", "model", "langs", "rows", "runs", "state")
    assert [rows[0][name] for name in shown] == ["[red]", "b|c", None, ["en", "ja"], 1200, [], "ready"]
    first, *_, last = bench("cache", "trained").out.splitlines()[1:]
    assert first.split("\t") == ["aa000000", "[red]", "b|c", "en+ja", "1,200", "2.1 KiB", "40 days ago", "0", "ready"]
    assert last == "3 trained models, 6.7 KiB; 3 of them without a run in results."


@pytest.mark.slow
def test_the_runs_of_a_model(bench: Any, own: Path) -> None:
    two_runs = [run["run"] for run in bench("run", "--backend", "majority,tfidf", "--lang", "en", "--limit", 20, "--json").json]
    models = {row["backend"]: row for row in bench("cache", "trained", "--json").json}
    assert sorted(run for name in ("majority", "tfidf") for run in models[name]["runs"]) == sorted(two_runs)
    assert models["tfidf"]["task"] == "reviews_demo"
    assert models["tfidf"]["rows"] > 0
    bench("cache", "remove", "trained", "--yes")
    assert len(bench("list", "runs", "--json").json) == 2


def test_leftovers_alone_are_pruned(bench: Any, own: Path) -> None:
    dry = bench("cache", "prune", "--dry-run", "--json").json
    assert dry["dry_run"]
    assert [(one["name"], one["bytes"], one["why"]) for one in dry["removed"]] == [
        (f"{KEYS[2]}/scratch", 512, "of a process that was killed")
    ]
    assert (own / "trained" / KEYS[2] / "scratch").is_dir()
    said = bench("cache", "prune", "--yes", "--json").json
    assert said == {**dry, "dry_run": False}
    assert not (own / "trained" / KEYS[2] / "scratch").exists()
    assert there(own) == ["aa", "ab", "cc"]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--unused-for", "30d"], ["ab", "cc"]),
        (["--unused-for", "1w"], ["cc"]),
        (["--unused-for", "12h"], ["cc"]),
        (["--max-size", "5KB"], ["ab", "cc"]),
        (["--max-size", "2.5 KiB"], ["cc"]),
        (["--max-size", "1g"], ["aa", "ab", "cc"]),
    ],
)
def test_old_models_are_pruned_on_demand(bench: Any, own: Path, options: list[str], left: list[str]) -> None:
    dry = bench("cache", "prune", *options, "--dry-run")
    assert "Nothing was deleted: this would free " in dry.out
    assert there(own) == ["aa", "ab", "cc"]
    said = bench("cache", "prune", *options, "--yes")
    assert (said.code, said.err) == (0, "")
    assert there(own) == left
    assert (own / "answers" / "a.0123456789.jsonl").exists()


def test_a_size_that_cannot_be_had_is_said(bench: Any, own: Path) -> None:
    said = bench("cache", "prune", "--max-size", "1B", "--yes")
    assert said.code == 0
    assert said.err == "note: without any trained model the cache holds 2 B, more than --max-size.\n"
    assert there(own) == []


@pytest.mark.parametrize(
    "options",
    [["--unused-for", "30"], ["--unused-for", "-1d"], ["--unused-for", "1m"], ["--max-size", "much"], ["--max-size", ""]],
    ids=" ".join,
)
def test_ages_and_sizes_that_cannot_be_read(bench: Any, own: Path, options: list[str]) -> None:
    said = bench("cache", "prune", *options, "--yes")
    assert said.code == 2
    assert options[0] in said.err
    assert there(own) == ["aa", "ab", "cc"]


def test_removal_by_name(bench: Any, own: Path) -> None:
    said = bench("cache", "remove", "ab", "answers", "--yes")
    assert said.code == 0
    assert "Deleted: 2.1 KiB (2 items)." in said.out
    assert there(own) == ["aa", "cc"]
    assert not list((own / "answers").iterdir())


@pytest.mark.parametrize(("name", "message"), [("a", "any of 2 models"), ("zz", "no model named 'zz'"), ("", "named ''")])
def test_a_name_that_is_none_or_many_deletes_nothing(bench: Any, own: Path, name: str, message: str) -> None:
    said = bench("cache", "remove", "cc", name, "--yes")
    assert said.code == 2
    assert message in said.err
    assert there(own) == ["aa", "ab", "cc"]


def test_what_is_in_use_is_left_and_said(bench: Any, own: Path) -> None:
    with held(own / "trained" / KEYS[2] / "lock", wait=False):
        said = bench("cache", "remove", "cc", "aa", "--yes")
        assert said.code == 1
        assert said.err == "left: trained/cc000000: in use\n"
        pruned = bench("cache", "prune", "--max-size", "0", "--yes", "--json")
        assert pruned.code == 0
        assert [(one["name"], one["why"]) for one in pruned.json["skipped"]] == [(KEYS[2], "in use")]
        assert [row["state"] for row in bench("cache", "trained", "--json").json] == ["in use"]
    assert there(own) == ["cc"]


@pytest.mark.slow
def test_a_model_that_is_uploaded_is_in_use(
    bench: Any, own: Path, two_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    from harness.cli import push
    from harness.reports.cards import facts, upload

    subject = SimpleNamespace(folder=own / "trained" / KEYS[0] / "model", entry=SimpleNamespace(run_id=two_runs[0]), damaged=())
    during: list[Said] = []

    def uploaded(repository: str, *arguments: Any, **options: Any) -> Any:
        during.append(bench("cache", "remove", "aa", "--yes"))
        return upload.Pushed(repository, "https://hub/commit", [])

    monkeypatch.setattr(facts, "subject_of", lambda *arguments: subject)
    monkeypatch.setattr(push, "_files", lambda *arguments: [])
    monkeypatch.setattr(upload, "push", uploaded)
    assert bench("model", "push", two_runs[0], "somebody/model").code == 0
    assert [said.code for said in during] == [1]
    assert bench("cache", "trained", "--json").json[-1]["key"] == KEYS[0]  # used now


@pytest.mark.parametrize("command", [["prune"], ["remove", "aa"]], ids=" ".join)
def test_in_a_pipe_nothing_is_deleted_without_yes(bench: Any, own: Path, command: list[str]) -> None:
    said = bench("cache", *command)
    assert said.code == 2
    assert "--yes" in said.err
    assert there(own) == ["aa", "ab", "cc"]
    assert (own / "trained" / KEYS[2] / "scratch").is_dir()


@pytest.mark.parametrize(("answer", "left"), [("y\n", ["ab", "cc"]), ("n\n", ["aa", "ab", "cc"]), ("\n", ["aa", "ab", "cc"])])
def test_at_a_terminal_the_user_is_asked(
    bench: Any, own: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[str]
) -> None:
    asked(monkeypatch, answer)
    said = bench("cache", "remove", "aa")
    assert said.code == 0
    assert f"Delete 2.1 KiB (1 item) of {own}? [y/N]" in said.err
    assert ("Nothing was deleted." in said.err) == (len(left) == 3)
    assert there(own) == left


def test_json_before_the_command_is_not_lost_silently(bench: Any, own: Path) -> None:
    said = bench("cache", "--json", "trained")
    assert said.code == 2
    assert "after `trained`" in said.err


@pytest.mark.parametrize("command", [[], ["trained"], ["prune"], ["remove"]], ids=" ".join)
def test_help_is_plain_and_whole(bench: Any, command: list[str]) -> None:
    said = bench("cache", *command, "--help")
    assert said.code == 0
    assert "--json" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.slow
def test_the_doctor_says_how_large_it_is(bench: Any, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.cli import doctor

    monkeypatch.setattr(doctor, "_hub", lambda: "can't be reached")
    assert f"cache: {own} (6.7 KiB; `bench cache` shows of what)\n" in bench("doctor").out
