"""What a YAML file that does not fit is told: file, line, field, what was found, what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from harness.core.errors import SpecError, UserError
from harness.specs.yamlspec import MAX_CHARS, Spec, load_yaml_spec, parse_yaml_spec, validate_options


class Inner(Spec):
    count: int
    sizes: tuple[int, ...] = ()


class Round(Spec):
    kind: Literal["round"]
    radius: float


class Square(Spec):
    kind: Literal["square"]
    side: float


class Outer(Spec):
    name: str
    title: str
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    either: int | str | list[str] = 0
    shape: Annotated[Round | Square, Field(discriminator="kind")] | None = None
    mapping: dict[str | int, int] = Field({})


def parse(text: str, first_line: int = 1) -> Outer:
    return parse_yaml_spec(text, Path("mine.yaml"), Outer, first_line, name="mine")


def refused(text: str, first_line: int = 1) -> str:
    with pytest.raises(SpecError) as caught:
        parse(text, first_line)
    return str(caught.value)


def test_a_file_that_fits() -> None:
    found = parse("title: t\ninner: {count: 1}\nmany:\n- {count: 2, sizes: [3]}\neither: [a]\nmapping: {1: 2, a: 3}")
    assert found.name == "mine"
    assert found.many[0].sizes == (3,)
    assert (found.either, found.mapping) == (["a"], {1: 2, "a": 3})
    with pytest.raises(ValidationError, match="frozen"):
        found.title = "other"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("title: [", 1, "is not valid YAML"),
        ("title: t\n  more: x", 2, "is not valid YAML: mapping values are not allowed"),
        ("title: a\n---\ntitle: b", 2, "found another document"),
        ("title: t\n? [a]\n: b", 2, "unhashable key"),
        ("- a\n- b", 1, "must be a mapping of keys to values, found ['a', 'b']"),
        ("title: t\n\nwrong: 1", 3, "unknown key 'wrong'"),
        ("title: t\nTitle: 1", 2, "unknown key 'Title'"),
        ("title: t\n7: 1", 2, "'7': keys should be strings"),
        ("title: t\ninner:\n  count: 1\n  Other: 2", 4, "unknown key 'inner.Other'"),
        ("title:\n  a: b", 1, "'title': input should be a valid string, found {'a': 'b'}"),
        ("inner: {count: 1}", 1, "'title' is missing"),
        ("title: t\ninner:\n  sizes: []", 2, "'inner.count' is missing"),
        ("title: t\ninner:\n  count: many", 3, "'inner.count': input should be a valid integer"),
        ("title: t\nmany:\n- {count: 1}\n- count: 2\n  sizes:\n  - 1\n  - x", 7, "'many.1.sizes.1': input should be"),
        ("title: t\nmany:\n- {count: 1}\n- {}", 4, "'many.1.count' is missing"),
        ("title: t\neither: 1.5", 2, "'either': input should be a valid string, found 1.5"),
        ("title: t\neither:\n- a\n- {b: c}", 2, "'either.1': input should be a valid string, found {'b': 'c'}"),
        ("title: t\nshape: {kind: round}", 2, "'shape.radius' is missing"),
        ("title: t\nshape:\n  kind: square\n  side: wide", 4, "'shape.side': input should be a valid number"),
        ("title: t\nshape: {kind: oval}", 2, "'oval' found using 'kind' does not match any of the expected tags: 'round'"),
        ("title: t\nmapping:\n  ok: 1\n  Bad: x", 4, "'mapping.Bad': input should be a valid integer"),
        ("title: t\nmapping:\n  1: x", 3, "'mapping.1': input should be a valid integer"),
        ("title: t\ntitle: u", 2, "the key 'title' occurs twice"),
        ("title: t\nmany:\n- count: 1\n  count: 2", 4, "the key 'count' occurs twice"),
        ("title: t\nname: other", 2, "unknown key 'name'"),
    ],
)
def test_what_is_wrong_and_where(text: str, line: int, words: str) -> None:
    said = refused(text)
    assert said.startswith(f"mine.yaml:{line}: ")
    assert words in said
    assert refused(text, first_line=11).startswith(f"mine.yaml:{line + 10}: ")


def test_all_problems_at_once_and_the_line_of_the_first() -> None:
    said = refused("inner: {count: x}\nwrong: 1")
    assert said.startswith("mine.yaml:1: 'title' is missing; 'inner.count': ")
    assert "unknown key 'wrong'" in said


@pytest.mark.parametrize("text", ["title: t\nwrong: 1", "title: t\nname: other"])
def test_the_hint_lists_the_keys_that_may_stand_in_the_file(text: str) -> None:
    assert refused(text).endswith("Allowed keys: title, inner, many, either, shape, mapping.")


def test_no_hint_for_the_wrong_level() -> None:
    assert "Allowed" not in refused("title: t\ninner: {count: 1, wrong: 2}")


@pytest.mark.parametrize("value", ["2024-13-45", "!!int abc", "!!float x"])
def test_a_scalar_that_only_looks_like_something_else(value: str) -> None:
    said = refused(f"title: {value}")
    assert said.startswith("mine.yaml: holds a value that can't be read: ")
    assert "quotes" in said


def test_nothing_in_yaml_runs_code() -> None:
    assert "is not valid YAML" in refused('title: !!python/object/apply:os.system ["exit 1"]')


@pytest.mark.parametrize("text", ["", "# only a remark", "{}"])
def test_an_empty_file_lacks_what_is_needed(text: str) -> None:
    assert "'title' is missing" in refused(text)


def test_long_values_are_cut() -> None:
    assert len(refused(f"title: [{'x' * 500}]")) < 150


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gone\.yaml: can't be read"):
        load_yaml_spec(tmp_path / "gone.yaml", Outer, name="gone")
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: Größe".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin\.yaml: can't be read"):
        load_yaml_spec(path, Outer, name="latin")


def _chain(link: str, first: str, count: int) -> str:
    """`count` keys, each of which repeats the one before."""
    return f"title: t\na0: &a0 {first}\n" + "".join(link.replace("N", str(n)).replace("M", str(n - 1)) for n in range(1, count))


BOMBS = {
    "lists of aliases": (
        _chain("aN: &aN [*aM, *aM, *aM, *aM, *aM, *aM, *aM, *aM]\n", "[x]", 20),
        "holds more than 200,000 values",
    ),
    "merged mappings": (_chain("aN: &aN {<<: [*aM, *aM], kN: v}\n", "{k: v}", 40), "holds more than 200,000 values"),
    "aliases ever deeper": (_chain("aN: &aN [*aM]\n", "[x]", 5000), "nested more than 50 levels deep"),
    "a list in itself": ("title: &x [*x]", "an alias is inside the value that it refers to"),
    "a mapping in itself": ("title: &x {a: *x}", "an alias is inside the value that it refers to"),
    "a mapping merged into itself": ("title: t\nmapping: &x {<<: *x}", "an alias is inside the value that it refers to"),
    "deep lists": ("title: " + "[" * 60 + "]" * 60, "nested more than 50 levels deep"),
    "deeper lists": ("title: " + "[" * 100_000, "nested too deeply"),
    "deep mappings": ("title: " + "{a: " * 20_000, "nested too deeply"),
    "a long number": ("title: " + "9" * 5000, "a number has 5,000 characters"),
    "a long hexadecimal number": ("title: 0x" + "f" * 500_000, "a number has 500,002 characters"),
    "a long number of base 60": ("title: 1" + ":59" * 300_000, "a number has 900,001 characters"),
    "a fraction of base 60": ("title: 1" + ":59" * 3000 + ".5", "a number has 9,003 characters"),
    "many values": ("title: [" + "'', " * 220_000 + "]", "holds more than 200,000 values"),
    "a key twice among many": (
        "title: t\nmapping: {" + "".join(f"k{n}: 1, " for n in range(60_000)) + "k0: 1}",
        "occurs twice",
    ),
    "a wrong truth value": ("title: !!bool maybe", "holds a value that can't be read"),
    "a wrong time": ("title: !!timestamp x", "holds a value that can't be read"),
    "an empty number": ("title: !!int ''", "holds a value that can't be read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_time_or_memory_without_end_is_refused(name: str) -> None:
    text, words = BOMBS[name]
    assert words in refused(text)


def test_aliases_that_do_no_harm_are_followed() -> None:
    assert parse("title: t\ninner: &i {count: 1}\nmany: [*i, {<<: *i, sizes: [2]}]").many[1].count == 1


@pytest.mark.slow
def test_many_problems_are_counted() -> None:
    said = refused("title: t\n" + "".join(f"key{number}: 1\n" for number in range(5000)))
    assert "and 4,990 more" in said
    assert len(said) < 1000


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("title: t\n" + "#" * MAX_CHARS, encoding="utf-8")
    with pytest.raises(SpecError, match=r"large\.yaml: has more than 1,048,576 characters"):
        load_yaml_spec(path, Outer, name="large")


@given(st.text(st.sampled_from("ab:{}[]-&*!|>'\"#?, \n\t0.~\x00"), max_size=25))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    try:
        parse(text)
    except SpecError as error:
        said = str(error)
    else:
        said = "mine.yaml"
    assert said.startswith("mine.yaml")


class Together(Spec):
    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def test_keys_that_do_not_fit_together_are_named_without_the_whole_mapping() -> None:
    with pytest.raises(UserError) as caught:
        validate_options({"low": 3, "high": 2}, Together, "Backend 'x', options")
    assert caught.value.message == "Backend 'x', options: low is above high"


def test_options_of_a_backend_have_no_file() -> None:
    assert validate_options({"count": 3}, Inner, "Backend 'x', options").count == 3
    with pytest.raises(UserError) as caught:
        validate_options({"count": "many", "Size": 3}, Inner, "Backend 'x', options")
    assert str(caught.value) == (
        "Backend 'x', options: 'count': input should be a valid integer, unable to parse string as an integer, found 'many';"
        " unknown key 'Size'\nAllowed keys: count, sizes."
    )
