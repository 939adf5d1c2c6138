"""Tables on terminals that are too narrow for them: no figure and no id is ever broken."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

INTERVAL = "0.540 [0.404, 0.670]"
Shown = Callable[..., tuple[list[str], str]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    """`shown(60, columns, rows)`: the lines on a terminal of 60 columns, and what stands on stderr."""

    def show(width: int, *table: object, **how: object) -> tuple[list[str], str]:
        from harness.cli.options import print_table

        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        print_table(*table, **how)  # type: ignore[arg-type]
        said = capsys.readouterr()
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in said.out.splitlines()]
        assert max(map(len, lines)) <= width
        return lines, said.err

    return show


def test_columns_go_before_a_figure_is_broken(shown: Shown) -> None:
    columns = ["backend", "how", "accuracy", "macro-F1", "MAE", "run"]
    rows = [["e5-small", "trained on 360 en+ja, train.epochs=4", INTERVAL, INTERVAL, INTERVAL, "bfe7e4b521"]]
    lines, err = shown(80, columns, rows, text=["how"])
    assert re.fullmatch(rf"e5-small  trained on 360 +{(re.escape(INTERVAL) + '  ') * 2}bfe7e4b521", lines[1])
    assert err == "(not in 80 columns: MAE)\n"
    assert INTERVAL in shown(40, columns[:3], [row[:3] for row in rows], text=["how"])[0][1]


def test_the_first_and_the_last_column_stay_longest(shown: Shown) -> None:
    lines, err = shown(20, ["pair", "difference", "p", "better"], [["B - A", "-38.0 points", "0.0001", "A"]])
    assert lines == ["pair   better", "B - A  A"]
    assert err == "(not in 20 columns: difference, p)\n"


def test_a_text_takes_the_room_that_there_is(shown: Shown) -> None:
    words = "one two three four five six seven eight nine ten"
    columns, rows = ["n", "text"], [["1,000", words]]
    assert shown(80, columns, rows, text=["text"])[0] == ["n      text", f"1,000  {words}"]
    lines, err = shown(31, columns, rows, text=["text"])
    assert lines[1:] == ["1,000  one two three four five", "       six seven eight nine ten"]
    assert err == ""


def test_a_text_keeps_its_words_whole_where_they_are_not_long(shown: Shown) -> None:
    columns, rows = ["run", "truth", "answered", "rows"], [["a" * 30, "very negative", "rather positive", "1,234"]]
    lines, err = shown(60, columns, rows, text=["truth", "answered"])
    assert [line.split() for line in lines[1:]] == [["a" * 30, "very", "rather", "1,234"], ["negative", "positive"]]
    assert err == ""


def test_all_is_there_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli.options import print_table

    print_table(["a", "b"], [["x" * 200, "y\tz\n"]], optional=["b"])
    assert capsys.readouterr().out == f"a\tb\n{'x' * 200}\ty z \n"


def test_an_optional_column_that_is_not_there_is_none(shown: Shown) -> None:
    assert shown(20, ["a"], [["1"]], optional=["settings"]) == (["a", "1"], "")
