"""The two branches of errors, and what each says."""

from __future__ import annotations

import json
import pickle
from itertools import product
from pathlib import Path

import pytest

from harness.core import errors
from harness.core.errors import (
    BenchError,
    MissingExtra,
    ModelUnavailable,
    RunError,
    RunIncomplete,
    SpecError,
    Unanswered,
    UnknownName,
    UserError,
    error_from_json,
    error_to_json,
)

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BenchError)]


def test_each_error_is_the_users_or_the_runs() -> None:
    assert len(ALL) >= 11
    for error in set(ALL) - {BenchError}:
        assert issubclass(error, UserError) != issubclass(error, RunError)
        assert error.exit_code == (2 if issubclass(error, UserError) else 1)


def test_the_way_out_follows_the_sentence() -> None:
    assert str(UserError("It is broken.", "Mend it.")) == "It is broken.\nMend it."
    assert str(UserError("It is broken.")) == "It is broken."


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mistrl", "Did you mean mistral?"),
        ("smolm2", "Did you mean smollm2 or smollm2-4bit?"),
        ("zzz", "Known: mistral, smollm2, smollm2-4bit."),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name: str, hint: str) -> None:
    error = UnknownName("backend", name, ["smollm2", "mistral", "smollm2-4bit"])
    assert error.message == f"There is no backend named {name!r}."
    assert error.hint == hint


def test_an_unknown_name_where_there_is_none() -> None:
    assert UnknownName("run", "x", []).hint == "Known: none."


def test_a_spec_error_names_file_and_line() -> None:
    assert str(SpecError(Path("a.yaml"), 3, "is wrong", "Mend it.")) == "a.yaml:3: is wrong\nMend it."
    assert str(SpecError("a.yaml", None, "is wrong")) == "a.yaml: is wrong"


def test_a_missing_extra_says_how_to_install_it() -> None:
    said = str(MissingExtra("torch", "train", "The engine 'encoder'"))
    assert "The engine 'encoder' needs the library 'torch'" in said
    assert said.count("pip install 'bench-harness[train]'") == 1
    assert "-c constraints.txt -e '.[train]'" in said
    assert "-c constraints-vllm.txt -e '.[vllm]'" in str(MissingExtra("vllm", "vllm", "The engine 'vllm'"))


def test_an_error_of_each_kind_survives_the_way_to_another_process() -> None:
    """Their constructors take other arguments than the message."""
    given = [
        SpecError("a.yaml", 3, "is wrong", "Mend it."),
        UnknownName("backend", "mistrl", ["mistral"]),
        MissingExtra("ray", "ray", "The executor"),
        Unanswered("Which?", "Say it.", {"--text": "body"}),
        RunIncomplete("3 rows have no answer", "Again.", ModelUnavailable("The server is down.")),
        *(kind("It failed.", "Mend it.") for kind in ALL if kind not in (SpecError, UnknownName, MissingExtra, Unanswered)),
    ]
    assert {type(error) for error in given} == set(ALL)
    ways = [
        lambda error: pickle.loads(pickle.dumps(error)),
        lambda error: error_from_json(json.loads(json.dumps(error_to_json(error)))),
    ]
    for error, way in product(given, ways):
        sent = way(error)
        assert type(sent) is type(error)
        assert (str(sent), sent.args, sent.exit_code) == (str(error), error.args, error.exit_code)
    sent = pickle.loads(pickle.dumps(given[4]))
    assert isinstance(sent.server, ModelUnavailable)
    assert sent.server.message == "The server is down."
