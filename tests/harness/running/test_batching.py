"""Which texts are computed together: limits, order, each text once, and prompts that are ready when they are wanted."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from harness.core.engine import Encoded, Messages
from harness.core.errors import UserError
from harness.core.types import Decoding, Example
from harness.records.store import Store
from harness.running import batching
from harness.running.batching import Item, batches, by_tokens, distinct, most_new_tokens
from harness.running.plan import Plan
from harness.running.runner import Result, run

rows = st.lists(st.text("ab", max_size=4), max_size=25).map(
    lambda texts: [Example(f"{n}", text, 0, "en") for n, text in enumerate(texts)]
)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@given(rows)
def test_every_text_once_with_all_its_rows_longest_first(found: list[Example]) -> None:
    items = distinct(found)
    assert len({item.text for item in items}) == len(items)
    assert sorted(row.id for item in items for row in item.rows) == sorted(row.id for row in found)
    assert all(row.text == item.text for item in items for row in item.rows)
    lengths = [len(item.text) for item in items]
    assert lengths == sorted(lengths, reverse=True)
    assert [item.text for item in distinct(found[::-1])] == [item.text for item in items]


def items_of(lengths: Sequence[int]) -> list[Item]:
    return [Item([Example(f"{n}", f"{n}", 0, "en")], Encoded(tokens, None)) for n, tokens in enumerate(lengths)]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=25),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 120)),
    st.integers(0, 9),
)
def test_batches_stay_within_rows_and_tokens(lengths: list[int], most: int, tokens: int | None, new: int) -> None:
    items = items_of(lengths)
    cut = list(by_tokens(items, most, tokens, new))
    assert sorted(item.text for batch in cut for item in batch) == sorted(item.text for item in items)
    flat = [item.encoded.tokens for batch in cut for item in batch]
    assert flat == sorted(lengths, reverse=True)

    def needs(batch: list[Item]) -> int:
        return len(batch) * (new + max(item.encoded.tokens for item in batch))

    for batch, following in zip(cut, [*cut[1:], list[Item]()], strict=True):
        assert 1 <= len(batch) <= most
        assert tokens is None or needs(batch) <= tokens or len(batch) == 1
        if following:  # none is cut short without need
            one_more = [*batch, following[0]]
            assert len(one_more) > most or (tokens is not None and needs(one_more) > tokens)
    assert list(by_tokens(items[::-1], most, tokens, new)) == cut


def options(project: Path, **values: int) -> None:
    (project / "backends" / "toy-model.yaml").write_text(
        f"engine: toy_model\nmodel: {project / 'weights' / 'tiny'}\noptions: {json.dumps(values)}\n"
    )


def many_rows(project: Path, count: int = 30) -> None:
    """Every fourth text stands in two rows, of other labels."""
    found = [toy.row("test", "en", n, toy.SAID[n % 11], n % 3) for n in range(count)]
    found += [{**row, "id": row["id"] + "-again", "label": 0} for row in found[::4]]
    toy.write_rows(project, "test", found)


def go(plan: Plan, store: Store) -> Result:
    return run(plan, store, None, toy.quiet)


def test_a_text_of_several_rows_is_computed_once(project: Path, tmp_path: Path) -> None:
    many_rows(project)
    plan, store = toy.plan(project), Store(tmp_path / "runs")
    result = go(plan, store)
    counted = Counter(toy.engine_of(plan).counted)
    assert set(counted.values()) == {1}
    assert set(counted) == {row.text for row in plan.rows}
    records = {record["id"]: record for record in store.predictions(result.run_id)}
    assert len(records) == 38
    for n in range(0, 30, 4):
        first, again = records[f"test-en-{n}"], records[f"test-en-{n}-again"]
        assert {**first, "id": "", "truth": 0} == {**again, "id": "", "truth": 0}
    run_record = store.record(result.run_id)
    assert (run_record.n, run_record.timing.distinct_texts) == (38, 30)
    assert run_record.tokens.prompt == sum(len(text.split()) for text in counted)


def test_a_batch_is_cut_by_tokens_too(project: Path, tmp_path: Path) -> None:
    many_rows(project)
    options(project, batch=7, tokens=100)
    plan, store = toy.plan(project), Store(tmp_path / "runs")
    timing = store.record(go(plan, store).run_id).timing
    sizes = [len(batch) for batch in toy.engine_of(plan).batches[1:]]
    assert (timing.batch_size, timing.batch_tokens, timing.smallest_batch) == (7, 100, min(sizes))
    room = most_new_tokens(plan)
    for batch in toy.engine_of(plan).batches[1:]:
        assert len(batch) * (room + max(len(text.split()) for text in batch)) <= 100
    assert max(sizes) == 4


def test_choices_take_no_room_beyond_the_prompts(project: Path) -> None:
    """An engine counts them among a prompt's tokens: constrained batches are those of score, and free ones smaller."""
    many_rows(project)
    options(project, batch=7, tokens=100)
    cut = {}
    for how in Decoding:
        plan = toy.plan(project, decoding=how)
        toy.engine_of(plan).load()
        cut[how] = [[item.text for item in batch] for batch in batches(plan, ())]
    assert cut[Decoding.CONSTRAINED] == cut[Decoding.SCORE]
    assert len(cut[Decoding.FREE]) > len(cut[Decoding.SCORE])


@pytest.mark.slow
@pytest.mark.parametrize("window", [5, 256])
def test_a_resumed_run_computes_the_batches_of_an_undisturbed_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(batching, "WINDOW", window)
    many_rows(project)
    options(project, batch=4, tokens=100)
    plan = toy.plan(project)
    go(plan, Store(tmp_path / "whole"))
    whole = toy.engine_of(plan).batches[1:]
    assert len(whole) >= 8
    for killed_after in (0, 1, 2, 5, len(whole) - 1):
        store, first, second = Store(tmp_path / str(killed_after)), toy.plan(project), toy.plan(project)
        engine = toy.engine_of(first)

        def hook(texts: Sequence[str], engine: Any = engine, after: int = killed_after) -> None:
            if len(engine.batches) == after + 1:
                raise Killed

        engine.hook = hook
        with pytest.raises(Killed):
            go(first, store)
        go(second, store)
        assert [*engine.batches[1:], *toy.engine_of(second).batches[1:]] == whole


def test_done_texts_are_left_out_and_others_stay_where_they_were(project: Path) -> None:
    many_rows(project)
    plan = toy.plan(project)
    toy.engine_of(plan).load()
    whole = [[item.text for item in batch] for batch in batches(plan, ())]
    by_text = {item.text: [row.id for row in item.rows] for item in distinct(plan.rows)}
    half_done = {row_id for text in whole[1][:2] for row_id in by_text[text]} | set(by_text[whole[0][0]])
    left = [[item.text for item in batch] for batch in batches(plan, half_done)]
    assert left == [whole[0][1:], whole[1][2:], *whole[2:]]
    twin = next(ids for ids in by_text.values() if len(ids) == 2)
    assert [[item.text for item in batch] for batch in batches(plan, twin[:1])] == whole  # its other row is still to do
    assert list(batches(plan, {row.id for row in plan.rows})) == []


def test_windows_that_are_done_are_not_encoded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW", 5)
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    engine.load()
    order = [item.text for item in distinct(plan.rows)]
    encoded: list[str] = []
    encode = engine.encode

    def watching(chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        encoded.extend(chat[-1]["content"] for chat in chats)
        found: list[Encoded] = encode(chats, choices)
        return found

    monkeypatch.setattr(engine, "encode", watching)
    done = {row.id for item in distinct(plan.rows)[5:10] for row in item.rows}
    left = [item.text for batch in batches(plan, done) for item in batch]
    assert sorted(left) == sorted(encoded) == sorted([*order[:5], *order[10:]])


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("error", [UserError("no such answer", "hint"), ZeroDivisionError("within")])
def test_what_encoding_raises_comes_through_as_it_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: Exception
) -> None:
    monkeypatch.setattr(batching, "WINDOW", 4)
    plan, store = toy.plan(project), Store(tmp_path / "runs")
    engine, encode, calls = toy.engine_of(plan), toy.engine_of(plan).encode, [0]

    def failing(chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        calls[0] += 1
        if calls[0] == at + 2:  # the warm-up is encoded first
            raise error
        found: list[Encoded] = encode(chats, choices)
        return found

    monkeypatch.setattr(engine, "encode", failing)
    with pytest.raises(type(error)) as caught:
        go(plan, store)
    assert caught.value is error
    assert len(engine.counted) == 4 * at  # what was ready before is kept
    monkeypatch.undo()
    toy.install(monkeypatch)
    again = toy.plan(project)
    go(again, store)
    assert sorted([*engine.counted, *toy.engine_of(again).counted]) == sorted(row.text for row in plan.rows)


def test_prompts_are_encoded_while_the_window_before_is_computed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch waits until the next window was encoded: it would wait in vain if that came after it."""
    monkeypatch.setattr(batching, "WINDOW", 4)
    plan = toy.plan(project)
    engine, encode = toy.engine_of(plan), toy.engine_of(plan).encode
    order = [item.text for item in distinct(plan.rows)]
    windows = [order[start : start + 4] for start in range(0, 11, 4)]
    ready = [threading.Event() for _ in windows]
    threads: set[str] = set()

    def watching(chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        found: list[Encoded] = encode(chats, choices)
        texts = [chat[-1]["content"] for chat in chats]
        if texts in windows:
            ready[windows.index(texts)].set()
            threads.add(threading.current_thread().name)
        return found

    def hook(texts: Sequence[str]) -> None:
        assert threading.current_thread() is threading.main_thread()
        if not engine.batches:
            return  # the warm-up
        at = next(n for n, window in enumerate(windows) if texts[0] in window)
        assert all(event.wait(60) for event in ready[: at + 2]), "the next window was not encoded meanwhile"
        assert not any(event.is_set() for event in ready[at + 2 :]), "encoded further ahead than one window"

    monkeypatch.setattr(engine, "encode", watching)
    engine.hook = hook
    go(plan, Store(tmp_path / "runs"))
    assert all(event.is_set() for event in ready)
    assert all(name.startswith("encode") for name in threads)


def test_a_classifier_is_cut_by_rows_and_its_own_tokens(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier")
    cut = list(batches(plan, ()))
    assert [len(batch) for batch in cut] == [3, 3, 3, 2]
    assert sorted(item.text for batch in cut for item in batch) == sorted(item.text for item in distinct(plan.rows))
    assert all(item.encoded.content == item.text for batch in cut for item in batch)
    tight = toy.plan(project, "toy-classifier", settings={"tokens": 12})
    assert all(len(batch) == 1 or sum(item.encoded.tokens for item in batch) <= 12 for batch in batches(tight, ()))
    assert max(len(batch) for batch in batches(tight, ())) < 3


def test_room_for_an_answer(project: Path) -> None:
    free, constrained, score = (
        toy.plan(project, decoding=how) for how in (Decoding.FREE, Decoding.CONSTRAINED, Decoding.SCORE)
    )
    assert (most_new_tokens(free), most_new_tokens(score)) == (16, 1)
    assert most_new_tokens(constrained) >= len('{"answer": "0"}')
    assert constrained.prompt is not None
    longest = "とても良い" * 20
    parser = replace_choices(constrained.prompt.parser, [longest, "0"])
    wide = replace(constrained, prompt=replace(constrained.prompt, parser=parser))
    assert most_new_tokens(wide) >= len(json.dumps({"answer": longest}).encode())


def replace_choices(parser: Any, found: list[str]) -> Any:
    class Other:
        def allowed(self) -> list[str]:
            return found

    return Other()
