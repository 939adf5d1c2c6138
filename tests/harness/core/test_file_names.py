"""File names made of names from data can be made on every file system, and none takes the place of another's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.file_names import LONGEST, cut, file_stem, own_stem

WINDOWS = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
NAMES = st.lists(st.text(st.characters() | st.sampled_from("aA./\\:é星-_ "), max_size=300), min_size=1, max_size=8)


def test_short_names_stay_as_they_are() -> None:
    assert file_stem(["reviews_demo", "en", "e5-small", "from-en", "s0"], ".") == "reviews_demo.en.e5-small.from-en.s0"
    assert file_stem(["a b+c", "日本語"]) == "a-b-c-日本語"
    assert own_stem(["reviews_demo", "e5-small", "accuracy"]) == "reviews_demo-e5-small-accuracy"


@settings(deadline=None)
@given(NAMES, st.sampled_from("-."))
def test_any_names_make_a_name_of_one_file(names: list[str], between: str) -> None:
    for stem in (file_stem(names, between), own_stem(names)):
        assert len(stem.encode()) <= LONGEST + len("-12345678")
        assert re.fullmatch(r"[\w.-]*", stem)
        assert not WINDOWS.fullmatch(stem)
    assert ".." not in file_stem(["..", *names])


def test_of_long_names_the_longest_is_cut() -> None:
    stem = file_stem(["toy", "x" * 250, "majority", "s0"], ".")
    assert stem.startswith("toy.xxx")
    assert stem.endswith(".majority.s0")
    assert len(stem) == LONGEST
    assert len(file_stem(["é" * 500] * 150).encode()) <= LONGEST


@pytest.mark.parametrize("name", ["CON", "nul", "Com1", "lpt9", "AUX"])
def test_no_device_of_windows(name: str) -> None:
    assert file_stem([name, "en"], ".") == f"{name}_.en"
    assert file_stem([name, "en"]) == f"{name}-en"


@pytest.mark.parametrize(
    "names",
    [("Zh", "zh"), ("a/b", "a-b"), ("a.b", "a-b"), ("é", "e\u0301"), ("x" * 300, "x" * 301), ("a", "A"), ("a.", "a")],
)
def test_names_that_a_file_system_may_take_for_each_other_differ(names: tuple[str, str]) -> None:
    one, other = (own_stem([name, "accuracy"]).casefold() for name in names)
    assert one != other


def test_the_longest_name_can_be_written_with_every_ending(tmp_path: Path) -> None:
    stem = own_stem(["é" * 300])
    for ending in (".replaced.partial", ".jsonl.0123abcd.tmp"):
        (tmp_path / (stem + ending)).touch()


def test_cut_at_a_letter() -> None:
    assert cut("éé", 3) == "é"
    assert cut("short") == "short"
