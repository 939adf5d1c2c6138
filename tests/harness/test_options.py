"""`RunOptions`: the command that repeats a run is exact, and a record names no place of a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.core.options import RunOptions, option_name
from harness.core.types import Calibration, Decision, Decoding
from harness.specs.asked import read_option

WORD = st.text("abcxyz019-_.", min_size=1, max_size=8).filter(lambda text: text[0].isalpha())
SCALAR = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=12)
VALUE = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(WORD, SCALAR, max_size=2)
OPTIONS = st.fixed_dictionaries(
    {"backend": WORD, "task": WORD, "lang": WORD},
    optional={
        "split": st.sampled_from(["test", "validation"]),
        "prompt": WORD,
        "decoding": st.sampled_from(Decoding),
        "calibration": st.sampled_from(Calibration),
        "decision": st.sampled_from(Decision),
        "train_lang": st.lists(WORD, min_size=1, max_size=3, unique=True).map(tuple),
        "validation_lang": st.lists(WORD, min_size=1, max_size=3, unique=True).map(tuple),
        "continue_from": WORD,
        "settings": st.dictionaries(WORD, VALUE, max_size=3),
        "seed": st.integers(0, 2**32 - 1),
        "limit": st.integers(1, 10**6),
        "train_limit": st.integers(1, 10**6),
        "resample_train": st.booleans(),
        "validation_limit": st.integers(0, 10**6),
        "model": st.sampled_from(["org/model", "org/model@abc", "./my model", "it's"]),
        "data": st.sampled_from([Path("rows"), Path("my rows/2024")]),
    },
)


def read(words: list[str]) -> RunOptions:
    """As the command line reads them."""
    fields = {option_name(name): name for name in RunOptions.model_fields}
    given: dict[str, Any] = {}
    while words:
        name = fields[words.pop(0)]
        if name == "resample_train":
            given[name] = True
        elif isinstance(RunOptions.model_fields[name].default, dict):
            given.setdefault(name, []).append(words.pop(0))
        else:
            given[name] = words.pop(0)
    values = {}
    for name, text in given.items():
        listed = name in ("settings", "resample_train", "split", "continue_from", "model", "data") or name.endswith("_limit")
        found = read_option(name, text if listed else [text])
        single = isinstance(found, list) and not isinstance(RunOptions.model_fields[name].default, tuple)
        values[name] = found[0] if single else found
    return RunOptions(**values)


@given(OPTIONS)
def test_the_flags_of_a_run_ask_for_the_same_run(values: dict[str, Any]) -> None:
    options = RunOptions(**values)
    assert read(options.arguments()) == options


def test_what_stands_in_a_record_names_no_folder_of_a_machine(tmp_path: Path) -> None:
    options = RunOptions(backend="b", data=tmp_path / "secret", model=str(tmp_path / "model"))
    kept = options.public({})
    assert (str(kept.data), kept.model) == ("DIR", "PATH")
    assert RunOptions(data=Path("rows"), model="org/model").public({}).arguments()[-4:] == [
        "--model",
        "org/model",
        "--data",
        "rows",
    ]
