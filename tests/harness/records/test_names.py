"""Names of configurations: the model that `--model` gave is in them, and no two that differ have the same one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import boards
import pytest
from boards import SCORE, TRAIN, entry, record, renamed
from hypothesis import given
from hypothesis import strategies as st
from unsealed import unseal

from harness.analysis.ranks import fold_seeds, ranked
from harness.core.record import Identity
from harness.core.types import Calibration, Decision, Decoding
from harness.records.entries import Entry, read_entries, with_models
from harness.records.names import names_of, told_apart
from harness.records.store import Store
from harness.reports.by_language import sections
from harness.reports.page.data import sections_of
from harness.reports.pictures import pictures
from harness.reports.tables import Table, columns, grouped, lines_of

BACKEND = {
    "name": "llm",
    "engine": "openai",
    "model": "gpt-4o-mini-2024-07-18",
    "revision": "1" * 40,
    "dtype": "float32",
    "device": "cpu",
    "precision": "fp32",
    "options": {"dtype": "auto", "predict": {"batch_size": 8, "runtime": "torch"}, "extra": ["a"], "note": "short"},
}
PROMPT = {**SCORE, "calibration": "batch", "decision": "median", "shots": ["r1", "r2"]}
TRAINED = {
    **TRAIN,
    "version": 2,
    "train_rows": "c" * 64,
    "validation_rows": "d" * 64,
    "validation_langs": ["fr"],
    "processes": 2,
    "thresholds": "f1",
    "continued_from": {"key": "e" * 64, "langs": ["ja"]},
}
SAME_TABLE = ("task", "split", "lang", "rows", "labels", "label_kind")
"""What runs of one table have in common."""
WORDS: dict[str, type[StrEnum]] = {"decoding": Decoding, "calibration": Calibration, "decision": Decision}


def identity(**changes: Any) -> dict[str, Any]:
    made = entry("llm", backend=BACKEND, prompt=None, train=TRAINED, version=1, decision="median")
    return copy.deepcopy({**made.record.identity.as_json(), **changes})


def run(made: Mapping[str, Any], **manifest: Any) -> Entry:
    base = entry("llm")
    return boards.entry_from(
        Identity.model_validate(made).run_id,
        {**base.record.manifest(), "identity": made, **manifest},
        base.record.metrics.as_json(),
    )


def named_model(manifest: dict[str, Any], model: str) -> None:
    manifest["identity"]["backend"]["model"] = model


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def changed(made: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Another value, as like the first one as it can be: of a text the last character is another."""
    found = copy.deepcopy(dict(made))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    value = inner[path[-1]]
    other: Any = "7"
    if path[-1] in WORDS:
        other = next(word for word in WORDS[path[-1]] if word != value)
    elif isinstance(value, str):
        other = value[:-1] + ("1" if value.endswith("0") else "0")
    elif isinstance(value, list):
        other = [*value, "zz"]
    elif isinstance(value, int):
        other = value + 1
    inner[path[-1]] = other
    return found


TRAINED_RUN, PROMPTED_RUN = identity(), identity(prompt=PROMPT, train=None)
CASES = [
    pytest.param(made, path, id=f"{kind}-{'.'.join(path)}")
    for kind, made in (("trained", TRAINED_RUN), ("prompted", PROMPTED_RUN))
    for path in leaves(made)
    if path[0] not in SAME_TABLE and made[path[0]] is not None
]


def table_of(entries: Sequence[Entry]) -> Table:
    (found,) = grouped(entries)
    rows = fold_seeds(found.entries)
    places = tuple(ranked(rows, boards.apart(rows, 1.0)))
    return Table(found.group, places, (), found.when, found.outdated)


@pytest.mark.parametrize(("made", "path"), CASES)
def test_whatever_two_configurations_differ_in_their_names_do(made: Mapping[str, Any], path: Sequence[str]) -> None:
    one, other = with_models([run(made, settings={"a": 1}), run(changed(made, path), settings={"a": 1})])
    assert len(set(names_of([[one], [other]], [one.how, other.how]))) == 2, "compare, cascade"
    assert len(set(names_of([[one], [other]], [one.config_label, other.config_label]))) == 2, "recommend"
    if path == ("seed",):
        return  # on a board two seeds of a configuration are one line
    table = table_of([one, other])
    lines = [tuple(line[1:3]) for line in lines_of(columns(table), table.places)]
    assert len(set(lines)) == 2, lines
    (section,) = sections([table])
    assert len({(line.backend, line.how) for line in section.lines}) == 2
    rows = next(iter(pictures([table], {one.run_id: 1.0, other.run_id: 1.0}).values())).rows
    assert len({(row["name"], row["how"]) for row in rows}) == 2


@pytest.mark.parametrize(("made", "path"), CASES)
def test_in_several_languages_too(made: Mapping[str, Any], path: Sequence[str]) -> None:
    entries = []
    for lang in ("en", "fr"):
        there = {**made, "lang": lang, "rows": lang}
        entries += [run(there), run({**changed(made, path), "lang": lang, "rows": lang})]
    several = {lang: table_of([e for e in with_models(entries) if e.group[2] == lang]) for lang in ("en", "fr")}
    for section in sections_of(several):
        names = [(line.backend, line.how) for line in section.lines]
        assert len(set(names)) == len(names)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, 0, 1, "1", [], {}, {"x": 1}])), max_size=6))
def test_any_options(options: list[dict[str, Any]]) -> None:
    entries = [renamed(run(identity(backend={**BACKEND, "options": one})), f"run.{place}") for place, one in enumerate(options)]
    names = told_apart([[one] for one in entries], ["alike"] * len(entries))
    assert len(set(names)) == len(names)


def served(model: str, **manifest: Any) -> Entry:
    return run(identity(prompt=PROMPT, train=None, backend={**BACKEND, "model": model, "revision": None}), **manifest)


def test_a_model_that_was_given_is_in_the_name() -> None:
    assert served("gpt-4o").display_name == "llm"
    assert served("gpt-4o", model_given=False).display_name == "llm"
    assert served("gpt-4o", model_given=True).display_name == "llm:gpt-4o"
    assert (
        run(identity(backend={"name": "tfidf", "engine": "baseline", "model": None}), model_given=True).display_name == "tfidf"
    )


def test_records_that_do_not_say_are_named_where_a_backend_has_several_models() -> None:
    models = ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"]
    assert [found.display_name for found in with_models([served(m) for m in models])] == [f"llm:{m}" for m in models]
    assert [found.display_name for found in with_models([served("a"), served("a")])] == ["llm", "llm"]


def test_what_all_runs_of_a_line_share_tells_it_apart() -> None:
    """Of several seeds each drew other few-shot examples, which is no difference between two lines."""

    def seeds(batch: int) -> list[Entry]:
        options = {**BACKEND["options"], "batch": batch}  # type: ignore[dict-item]
        drawn = [{**PROMPT, "shots_sha256": str(seed) * 64} for seed in (1, 2)]
        return [
            run(identity(prompt=p, train=None, seed=s, backend={**BACKEND, "options": options})) for s, p in enumerate(drawn)
        ]

    assert told_apart([seeds(4), seeds(8)], ["x", "x"]) == ["x, batch=4", "x, batch=8"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("revision", ("revision=" + 40 * "1", "revision=" + 39 * "1" + "0")),
        ("options.note", ("note=short", "note=shor0")),
        ("options.predict.batch_size", ("predict.batch_size=8", "predict.batch_size=9")),
        ("options.dtype", ("options.dtype=auto", "options.dtype=aut0")),
        ("dtype", ("dtype=float32", "dtype=float30")),
    ],
)
def test_words_for_what_differs(path: str, said: tuple[str, str]) -> None:
    other = changed(TRAINED_RUN, ("backend", *path.split(".")))
    assert tuple(told_apart([[run(TRAINED_RUN)], [run(other)]], ["", ""])) == said


def test_digests_are_cut_to_what_tells_them_apart() -> None:
    def found(*revisions: str) -> list[str]:
        runs = [[run(identity(backend={**BACKEND, "revision": revision}))] for revision in revisions]
        return told_apart(runs, [""] * len(revisions))

    assert found("a" * 40, "b" * 40) == ["revision=aaaaaaaa", "revision=bbbbbbbb"]
    assert found("a" * 40, "a" * 9 + "b" * 31) == ["revision=aaaaaaaaaa", "revision=aaaaaaaaab"]
    assert found("my-tag-of-2024-07-18", "my-tag-of-2024-07-19") == [
        "revision=my-tag-of-2024-07-18",
        "revision=my-tag-of-2024-07-19",
    ]


def test_copies_of_one_record_are_told_apart_by_their_folders() -> None:
    one = run(TRAINED_RUN)
    copies = [one, renamed(one, f"copy-{one.run_id}")]
    names = told_apart([[found] for found in copies], ["x", "x"])
    assert names == [f"x, id={one.run_id}", f"x, id=copy-{one.run_id}"]


def test_the_records_of_a_folder_are_named_together(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for version, model in enumerate(("a", "b")):
        name = record(store, "toy", [0, 1], [0, 1], version=version)
        unseal(store.root / name, partial(named_model, model=model))
    assert sorted(found.display_name for found in read_entries(store)) == ["toy:a", "toy:b"]
