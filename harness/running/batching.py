"""Batches: each text once, longest first, limited by tokens; encoded while the previous batch is computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, groupby, islice
from operator import attrgetter

from harness.core.engine import Allowed, Classifier, Encoded, Engine, LanguageModel, ListOf, ZeroShot
from harness.core.shard import Shard
from harness.core.types import Decoding, Example
from harness.running.plan import Plan

WINDOW = 256
"""Texts that are encoded together. Within a window they are sorted by tokens; windows are sorted by characters."""

SAMPLE = 16
"""Prompts of a run that show what all of them begin with."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text, all rows that have it, and, once encoded, its form for the engine (of a language model: the prompt)."""

    rows: Sequence[Example]
    form: Encoded | None = None

    @property
    def text(self) -> str:
        return self.rows[0].text

    @property
    def encoded(self) -> Encoded:
        assert self.form is not None
        return self.form


def distinct(rows: Sequence[Example]) -> list[Item]:
    """One item per text, longest first: little padding, and out-of-memory errors come early."""
    return list(_items(rows))


def _items(rows: Sequence[Example]) -> Iterator[Item]:
    """Those of `distinct`, made one after the other: of a million rows all of them would take 100 MB."""
    text = attrgetter("text")
    ordered = sorted(sorted(rows, key=text), key=lambda row: len(row.text), reverse=True)
    return (Item(tuple(same)) for _, same in groupby(ordered, key=text))


def shortest(rows: Sequence[Example]) -> Item:
    """The last one of `distinct`, without the others."""
    text = max((row.text for row in rows), key=lambda text: (-len(text), text))
    return Item([row for row in rows if row.text == text])


def window_size(engine: Engine) -> int:
    """Different texts in a window of its runs. A batch of a Batch API is a window."""
    return engine.batch_size() if engine.batch_api() else WINDOW


def windows_of(rows: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """The rows of each window of a run on `rows`."""
    items = _items(rows)
    while window := list(islice(items, size)):
        yield [row for item in window for row in item.rows]


def rows_of(plan: Plan, shard: Shard | None) -> list[Example]:
    """The rows that a shard of the run predicts; None: all of them."""
    if shard is None:
        return plan.rows
    windows = enumerate(windows_of(plan.rows, window_size(plan.engine)))
    return [row for number, window in windows if shard.has_window(number) for row in window]


def batches(plan: Plan, done: Collection[str], shard: Shard | None = None) -> Iterator[list[Item]]:
    """The unfinished batches, or those of a shard. They depend on all rows of the run, so that a resumed run and the shards of
    a run compute the same batches; finished rows of a halved batch are left out."""
    prompted = isinstance(plan.engine, LanguageModel)
    # the tokens of a prompt include its choices
    new_tokens = most_new_tokens(plan) if prompted and choices(plan) is None else 0
    if all(row.id in done for row in rows_of(plan, shard)):
        return
    items = _items(plan.rows)
    if isinstance(plan.engine, LanguageModel) and plan.engine.shares_beginning:
        known = list(items)
        if len(known) > 1:
            plan.engine.share([item.encoded for item in encode(plan, _sample(known))])
        items = iter(known)
    windows = _windows(items, window_size(plan.engine), done, shard)
    yield from _batches(plan.engine, windows, lambda some: encode(plan, some), new_tokens, done)


def _sample(items: Sequence[Item]) -> list[Item]:
    """Of all lengths, from the longest to the shortest; whether or not they are done."""
    count = min(SAMPLE, len(items))
    return [items[round(step * (len(items) - 1) / (count - 1))] for step in range(count)]


def batches_of(engine: Classifier, rows: Sequence[Example]) -> Iterator[list[Item]]:
    """All rows, for a classifier without a plan."""
    windows = _windows(_items(rows), window_size(engine), ())
    return _batches(engine, windows, lambda items: _encoded(engine, items), 0, ())


def _batches(
    engine: Engine,
    windows: Iterator[list[Item]],
    encoder: Callable[[list[Item]], list[Item]],
    new_tokens: int,
    done: Collection[str],
) -> Iterator[list[Item]]:
    if (first := next(windows, None)) is None:
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
    try:
        ready = pool.submit(encoder, first)
        for following in chain(windows, [[]]):
            current, ready = ready.result(), pool.submit(encoder, following)
            for batch in by_tokens(current, engine.batch_size(), engine.batch_tokens(), new_tokens, engine.cache_tokens()):
                pending = [item for item in batch if not _is_done(item, done)]
                if pending:
                    yield pending
    finally:
        # Not waited for: a generator that was left may be closed by the garbage collector, in a thread that is just starting
        # or ending, and joining another one there can wait for ever.
        pool.shutdown(wait=False, cancel_futures=True)


def _windows(items: Iterator[Item], size: int, done: Collection[str], shard: Shard | None = None) -> Iterator[list[Item]]:
    """`size` items each, unless all of them are done, or another shard has them."""
    for number, window in enumerate(iter(lambda: list(islice(items, size)), [])):
        if (shard is None or shard.has_window(number)) and not all(_is_done(item, done) for item in window):
            yield window


def _is_done(item: Item, done: Collection[str]) -> bool:
    return all(row.id in done for row in item.rows)


def encode(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """The items with their forms for the engine, in the same order."""
    if isinstance(plan.engine, Classifier | ZeroShot):
        return _encoded(plan.engine, items)
    assert isinstance(plan.engine, LanguageModel)
    assert plan.prompt is not None
    chats = plan.prompt.chats([item.text for item in items])
    return _with_forms(items, plan.engine.encode(chats, choices(plan)))


def _encoded(engine: Classifier | ZeroShot, items: Sequence[Item]) -> list[Item]:
    return _with_forms(items, engine.encode([item.text for item in items]))


def _with_forms(items: Sequence[Item], forms: Sequence[Encoded]) -> list[Item]:
    return [Item(item.rows, form) for item, form in zip(items, forms, strict=True)]


def longest_prompt(plan: Plan, extra: Sequence[Item], on_progress: Callable[[int, int], None]) -> int:
    """Tokens of the longest prompt of the run, or of `extra` inputs, with room for its answer. Reads all texts."""
    items = [*extra, *distinct(plan.rows)]
    most = 0
    for start in range(0, len(items), WINDOW):
        on_progress(start, len(items))
        most = max(most, *(item.encoded.tokens for item in encode(plan, items[start : start + WINDOW])))
    return most + most_new_tokens(plan)


def choices(plan: Plan) -> Allowed | None:
    """The answers that are scored or allowed; None for free decoding."""
    assert plan.prompt is not None
    parser, decoding = plan.prompt.parser, plan.prompt.prompt.spec.decoding
    return None if decoding is Decoding.FREE else parser.choices() if decoding is Decoding.SCORE else parser.allowed()


def most_new_tokens(plan: Plan) -> int:
    """Upper bound of an answer's tokens, and so of its cost: a token is at least a byte, and a server may wrap a choice in
    JSON."""
    if isinstance(plan.engine, ZeroShot):
        return plan.engine.new_tokens(plan.task.label_space)
    assert plan.prompt is not None
    spec = plan.prompt.prompt.spec
    if spec.decoding is Decoding.SCORE:
        return 1
    allowed = choices(plan) or ()
    longest = [allowed.text(allowed.names)] if isinstance(allowed, ListOf) else allowed
    return max([spec.max_new_tokens, *(len(json.dumps(choice)) + 24 for choice in longest)])


def most_charged_tokens(plan: Plan) -> int:
    """Upper bound of the tokens of an answer with the reasoning before it."""
    # A score reads the first token, before any reasoning.
    scored = plan.prompt is not None and plan.prompt.prompt.spec.decoding is Decoding.SCORE
    return most_new_tokens(plan) + (0 if scored else plan.engine.reasoning_room())


def by_tokens(
    items: Sequence[Item], rows: int, tokens: int | None, new_tokens: int, cached: int | None = None
) -> Iterator[list[Item]]:
    """Batches of at least one item each: at most `rows` items, at most `tokens` tokens without what is shared, and at most
    `cached` tokens with it; padding and new ones included."""

    def own(item: Item) -> int:
        return whole(item) - item.encoded.shared

    def whole(item: Item) -> int:
        return item.encoded.tokens + new_tokens

    batch: list[Item] = []
    widest = longest = 0
    for item in sorted(items, key=lambda item: (-own(item), item.text)):
        count = len(batch) + 1
        over = tokens is not None and count * max(widest, own(item)) > tokens
        over = over or (cached is not None and count * max(longest, whole(item)) > cached)
        if batch and (over or len(batch) == rows):
            yield batch
            batch, widest, longest = [], 0, 0
        batch.append(item)
        widest, longest = max(widest, own(item)), max(longest, whole(item))
    if batch:
        yield batch
