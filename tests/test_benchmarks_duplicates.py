"""`benchmarks/duplicates.py`: bench finds what scikit-learn does, and what can't take part is named; nothing is timed here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def duplicates(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import duplicates as module

    return module


def cells(out: str) -> dict[str, list[str]]:
    """Name -> the other cells of its line."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("| ")]
    return {name: rest for name, *rest in lines if name}


def test_a_small_table(duplicates: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert duplicates.main(["--rows", "50", "--others", "250", "--rivals", "sklearn", "--seed", "1"]) == 0
    found = cells(capsys.readouterr().out)
    assert list(found) == ["bench", "sklearn"]
    assert int(found["bench"][1]) - int(found["sklearn"][1]) == int(found["sklearn"][2])  # what differs in one place
    assert int(found["sklearn"][1]) > 0


def test_one_changed_word_is_found_in_nine_of_ten_texts_of_every_script(
    duplicates: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert duplicates.main(["--recall", "--rows", "100", "--seed", "3"]) == 0
    found = cells(capsys.readouterr().out)
    assert list(found)[1:] == list(duplicates.SCRIPTS)
    for plain, hidden, precision in list(found.values())[1:]:
        for before, after in ([share.strip("* %") for share in cell.split(",")] for cell in (plain, hidden)):
            assert int(before) < 90 <= int(after)
        assert float(precision.rstrip("%")) >= 99


def test_recall_on_texts_from_files(duplicates: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"number {n * 7919} of the long texts that are here,{n % 2},en\n" for n in range(40)]
    (tmp_path / "rows.csv").write_text("text,label,lang\n" + "".join(lines) + "ein anderer Text,0,de\n")
    options = ["--recall", "--texts", str(tmp_path / "rows.csv"), "--lang"]
    assert duplicates.main([*options, "en"]) == 0
    assert "| 40 |" in capsys.readouterr().out
    assert duplicates.main([*options, "fr"]) == 2


def test_a_rival_that_is_not_installed_is_named(duplicates: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert duplicates.main(["--rows", "20", "--others", "60", "--rivals", "row,bulk"]) == 0
    found = cells(capsys.readouterr().out)
    assert list(found) == ["bench", "row", "bulk"]
    missing = importlib.util.find_spec("datasketch") is None
    assert all((found[name][0] == "datasketch is not installed") == missing for name in ("row", "bulk"))


def test_texts_from_files(duplicates: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f"text number {n} of these\n" for n in range(40)))
    options = ["--texts", str(tmp_path / "rows.csv"), "--rivals", "sklearn"]
    assert duplicates.main([*options, "--rows", "20", "--others", "20"]) == 0
    assert duplicates.main([*options, "--rows", "20", "--others", "21"]) == 2
    assert "41 texts are asked for, and the files have 40" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "sklearn,nothing"])
def test_an_unknown_rival_is_refused(duplicates: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        duplicates.main(["--rivals", name])
    assert "'nothing' is none of row, bulk, sklearn" in capsys.readouterr().err
