"""The benchmark of many runs: the copies of records are records of their own. No time decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.index import read_index
from harness.records.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_copies_are_intact_and_of_other_tasks(tmp_path: Path) -> None:
    from _record_copies import copy_records

    source = tmp_path / "source"
    source.mkdir()
    for path in sorted((ROOT / "results" / "runs").glob("nsmc_5.*"))[:3]:
        (source / path.name).symlink_to(path)
    assert copy_records(source, tmp_path / "runs", 7) == 7
    index = read_index(Store(tmp_path / "runs"))
    assert (len(index.rows), index.damaged) == (7, [])
    assert sorted({row.task for row in index.rows}) == ["nsmc_5-0000", "nsmc_5-0001", "nsmc_5-0002"]


def test_all_commands_are_measured(tmp_path: Path) -> None:
    import many_runs
    from _record_copies import copy_records

    copy_records(ROOT / "results" / "runs", tmp_path / "runs", 3)
    names = Store(tmp_path / "runs").ids()
    asked = many_runs.commands(names)
    assert set(asked) == {"list runs", "compare", "recommend", "show", "leaderboard"}
    found = many_runs.measured(asked["list runs"], tmp_path, ROOT)
    assert (found["exit_code"], found["peak_mib"] > 10) == (0, True)
    shown = many_runs.table({"measurements": [{"when": "now", "what": "list runs", **found}] * 2})
    assert [line.split(" | ")[:2] for line in shown.splitlines()][2:] == [["| now", "list runs"]]
