"""`--results` and `--data` as a URL, in every way in which an option can be given."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from console import Bench

from harness.core.places import folder_of, place_of
from harness.storage.remote import Remote, StorageError

RUN = ("run", "--backend", "majority", "--lang", "en", "--limit", 20)


@pytest.fixture
def url() -> str:
    return f"memory://cli-{secrets.token_hex(4)}/results"


@pytest.fixture
def other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment of its use on."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))


@pytest.mark.slow
def test_a_run_and_the_leaderboard_reach_the_url(
    bench: Bench, url: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bench(*RUN, "--results", url)
    assert said.code == 0
    assert url in said.err
    assert str(folder_of(url)) not in said.err + said.out
    assert not (project / "results").exists()
    monkeypatch.setenv("BENCH_CACHE", str(project / "other"))
    assert [row["n"] for row in bench("list", "runs", "--results", url, "--json").json] == [20]
    said = bench("leaderboard", "--results", url)
    assert (said.code, url in said.err) == (0, True)
    names = {name.partition("/")[0] for name in Remote(url).listing()}
    assert {"runs", "LEADERBOARD.md", "leaderboard.html"} <= names
    assert bench("leaderboard", "--results", url, "--check").code == 0


@pytest.mark.usefixtures("other_machine")
def test_the_environment_and_bench_toml_name_the_url(
    bench: Bench, url: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_RESULTS", url)
    assert bench(*RUN).code == 0
    monkeypatch.delenv("BENCH_RESULTS")
    (project / "bench.toml").write_text(f'results = "{url}"\n')
    assert len(bench("list", "runs", "--json").json) == 1
    assert "found" in bench(*RUN).err


def test_file_urls_are_used_directly(bench: Bench, project: Path) -> None:
    assert bench(*RUN, "--results", (project / "shared").as_uri()).code == 0
    assert len(list((project / "shared" / "runs").glob("*/run.json"))) == 1


def test_rows_at_a_url(bench: Bench, url: str, project: Path) -> None:
    remote = Remote(url)
    for split, rows in (("train", "a,0\nb,1\n"), ("validation", "c,1\nd,0\n"), ("test", "e,0\nf,1\ng,0\n")):
        remote.write(f"{split}.csv", f"text,label\n{rows}".encode())
    (project / "tasks").mkdir()
    task = "description: d\nsource: {files: {folder: .}}\ncolumns: {text: text, label: label}\nlanguages: [en]\n"
    (project / "tasks" / "mine.yaml").write_text(task + "labels: {kind: nominal, names: ['0', '1']}\n")
    said = bench("run", "--task", "mine", "--backend", "majority", "--data", url, "--json")
    assert said.code == 0, said.err
    (done,) = said.json
    record = (project / "results" / "runs" / done["run"] / "run.json").read_text()
    assert url not in record
    assert place_of(folder_of(url)) == url
    assert bench("run", "--task", "mine", "--backend", "majority", "--data", f"{url}-none").code == 2


@pytest.mark.slow
def test_a_copy_that_was_not_uploaded_is_not_pruned(
    bench: Bench, url: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(project / "one"))
    bench(*RUN, "--results", url)
    (file,) = folder_of(url).glob("runs/*/metrics.json")
    file.write_text(file.read_text() + " ")
    (kept,) = bench("cache", "prune", "--all", "--json").json["kept"]
    assert kept["part"] == "shared"
    assert file.exists()
    bench("list", "runs", "--results", url)  # uploads it
    assert "shared" in {item["part"] for item in bench("cache", "prune", "--all", "--json").json["removed"]}
    assert not file.exists()
    assert len(bench("list", "runs", "--results", url, "--json").json) == 0  # it was damaged
    assert bench(*RUN, "--results", url).code == 0
    assert len(bench("list", "runs", "--results", url, "--json").json) == 1


@pytest.mark.slow
def test_what_was_not_uploaded_ends_the_command_with_1(bench: Bench, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.records import shared

    monkeypatch.setattr(shared, "PATIENCE", 0.0)
    real = Remote.write

    def write(self: Remote, name: str, content: bytes) -> None:
        if name == "LEADERBOARD.md":
            raise StorageError("The store is away.")
        real(self, name, content)

    bench(*RUN, "--results", url)
    monkeypatch.setattr(Remote, "write", write)
    said = bench("leaderboard", "--results", url)
    assert said.code == 1
    assert "LEADERBOARD.md" in said.err
    monkeypatch.setattr(Remote, "write", real)
    assert bench("list", "runs", "--results", url).code == 0
    assert "LEADERBOARD.md" in Remote(url).listing()


@pytest.mark.slow
def test_a_trained_model_is_shared(bench: Bench, url: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_SHARED_CACHE", f"{url}/cache")
    train = ("run", "--backend", "tfidf", "--lang", "en", "--limit", 20)
    monkeypatch.setenv("BENCH_CACHE", str(project / "one"))
    bench(*train)
    names = list(Remote(f"{url}/cache").listing())
    assert sum(name.endswith("/model/SHA256SUMS") for name in names) == 1
    monkeypatch.setenv("BENCH_CACHE", str(project / "two"))
    monkeypatch.setattr("backends.baseline.Baseline.fit", None)  # a training would fail
    said = bench(*train, "--force")
    assert said.code == 0, said.err
    for name in names:
        if name.endswith("training.json"):
            Remote(f"{url}/cache").write(name, b"{}")
    monkeypatch.setenv("BENCH_CACHE", str(project / "three"))
    said = bench(*train, "--force")
    assert said.code == 1
    assert "is damaged" in said.err


def test_a_shared_cache_that_is_away_is_not_needed(
    bench: Bench, url: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Remote, *arguments: object) -> None:
        raise StorageError("The store is away.")

    for name in ("listing", "stamp", "write"):
        monkeypatch.setattr(Remote, name, away)
    monkeypatch.setenv("BENCH_SHARED_CACHE", url)
    monkeypatch.setenv("BENCH_CACHE", str(project / "one"))
    said = bench("run", "--backend", "tfidf", "--lang", "en", "--limit", 20)
    assert said.code == 0
    assert "The store is away." in said.err
