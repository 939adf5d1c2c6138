"""Run options: the command that repeats a run, and what of them a record may hold."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.core.json_files import canonical_json
from harness.core.options import (
    CHECKPOINT,
    FOLDER,
    SCIENTIFIC,
    ExecutionOptions,
    RunOptions,
    all_fields,
    is_many,
    option_name,
    variable_name,
)
from harness.core.types import Calibration, Decision, Decoding

BASE: dict[str, Any] = {"backend": "tfidf", "task": "toy", "lang": "en"}
LANGS = {"train_lang", "validation_lang"}


def read_again(command: str) -> RunOptions:
    """The options that this command line gives, as `bench run` reads it: values of `--set` are YAML."""
    words = shlex.split(command)
    assert words[:2] == ["bench", "run"]
    flags = {option_name(name): name for name in RunOptions.model_fields}
    given: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    rest = iter(words[2:])
    for word in rest:
        name = flags[word]
        if name == "resample_train":
            given[name] = True
        elif name == "settings":
            key, _, text = next(rest).partition("=")
            settings[key] = float(text) if re.fullmatch(SCIENTIFIC, text) else yaml.safe_load(text)
        else:
            value = next(rest)
            given[name] = tuple(value.split(",")) if name in LANGS else value
    return RunOptions(**given, settings=settings)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"split": "validation", "seed": 7, "limit": 100},
        {"prompt": "strict", "decoding": Decoding.SCORE, "calibration": Calibration.BATCH, "decision": Decision.MEDIAN},
        {"train_lang": ("en", "fr"), "validation_lang": ("de",), "train_limit": 9, "validation_limit": 0},
        {"resample_train": True, "continue_from": "0123456789abcdef0123"},
        {"model": "org/model@main", "data": Path("my data/rows")},
        {"settings": {"train.lr": 4.4596e-05, "train.epochs": 2, "whole": 2.0, "on": True, "none": None, "kind": "cosine"}},
        {"settings": {"train.lora": {"rank": 8, "targets": ["q", "v"]}, "train.lora.empty": {}, "list": [1, 2.5]}},
    ],
    ids=lambda changes: "+".join(changes) or "defaults",
)
def test_the_command_repeats_the_run(changes: dict[str, Any]) -> None:
    options = RunOptions(**BASE, **changes)
    assert read_again(options.command()) == options


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["batch_size", "train.lr", "extra"]), VALUES))
@example({"extra": "\x85", "train.lr": ["\u2028é", "\u2029"]})
def test_the_command_repeats_settings_of_all_types(settings: dict[str, Any]) -> None:
    options = RunOptions(**BASE, settings=settings)
    read = read_again(options.command()).settings
    assert canonical_json(read) == canonical_json(settings)  # to Python 1, 1.0 and true are equal


def test_a_command_names_no_default() -> None:
    assert RunOptions(**BASE).command() == "bench run --backend tfidf --task toy --lang en"


@pytest.mark.parametrize("inside", ["rows", "./rows", "rows/../rows", "data/rows"])
def test_places_in_the_project_are_recorded_relative_to_it(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (inside, str(tmp_path / inside)):
        options = RunOptions(**BASE, data=Path(place), model=place).public({})
        assert options.data is not None
        assert not options.data.is_absolute()
        assert (tmp_path / options.data).resolve() == (tmp_path / inside).resolve()
        assert options.model is not None
        assert (tmp_path / options.model).resolve() == (tmp_path / inside).resolve()
        assert read_again(options.command()) == options


@pytest.mark.parametrize(
    "outside", ["/data/rows", "../rows", "~/rows", "rows/../../rows", "C:\\Users\\me\\rows", "\\\\nas\\rows"]
)
def test_places_outside_the_project_are_not_recorded(outside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = RunOptions(**BASE, data=Path(outside), model=outside).public({})
    assert (options.data, options.model) == (Path(FOLDER), CHECKPOINT)
    assert read_again(options.command()) == options


@pytest.mark.parametrize("name", ["org/model", "org/model@0123456789", "packaged:minilm", "gpt-4o-mini"])
def test_a_model_that_is_a_name_is_recorded_as_it_is(name: str) -> None:
    assert RunOptions(**BASE, model=name).public({}).model == name


@given(st.text(alphabet="/\\.~:abC@", min_size=1), st.text(alphabet="/\\.~:abC", min_size=1))
@example(model=":", data="..\\")
@example(model=":", data="\\..")
def test_no_absolute_path_is_ever_recorded(model: str, data: str) -> None:
    options = RunOptions(**BASE, model=model, data=Path(data)).public({})
    for place in (options.model, str(options.data)):
        assert place is not None
        assert not re.match(r"[/\\~]|[A-Za-z]:[/\\]", place)
        assert ".." not in re.split(r"[/\\]", place)
        assert str(Path.cwd()) + os.sep not in place


def test_only_the_settings_that_are_given_are_recorded() -> None:
    options = RunOptions(**BASE, settings={"api_key": "SECRET", "batch_size": 4})
    public = options.public({"batch_size": 4})
    assert public.settings == {"batch_size": 4}
    assert "SECRET" not in public.model_dump_json()


def test_changes_are_checked_and_keep_the_rest() -> None:
    options = RunOptions(**BASE, limit=5)
    assert options.changed(seed=3) == RunOptions(**BASE, limit=5, seed=3)
    for wrong in ({"seed": -1}, {"limit": 0}, {"split": "train"}, {"decoding": "loud"}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            options.changed(**wrong)


def test_each_option_has_its_own_flag_and_variable_and_a_description() -> None:
    fields = all_fields()
    assert len(fields) == len(RunOptions.model_fields) + len(ExecutionOptions.model_fields)
    assert len({option_name(name) for name in fields}) == len({variable_name(name) for name in fields}) == len(fields)
    assert not [name for name, field in fields.items() if not field.description]
    assert {name for name, field in fields.items() if is_many(field)} == {
        *("backend", "task", "lang", "prompt", "decoding", "calibration", "shots", "shots_by", "decision", "seed", "limit")
    }


@pytest.mark.parametrize("data", ["DIR", "rows/of mine", "/somewhere"])
def test_options_are_read_again_from_their_json(data: str) -> None:
    """As a record's are, also by the index of many runs, which would read every record again otherwise."""
    options = RunOptions(backend="tfidf", task="t", lang="en", data=Path(data))
    assert RunOptions.model_validate_json(options.model_dump_json(exclude_unset=True)) == options
    assert RunOptions.model_validate_json(options.model_dump_json(exclude_unset=True)).data == Path(data)
