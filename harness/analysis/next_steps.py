"""What to run next: what may help a model that is not better than chance, and the language model that was not tested."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.analysis.candidates import Candidate, CandidatePool
from harness.analysis.findings import FindingKind
from harness.analysis.pricing import is_served
from harness.analysis.row_sets import rows_at_hand
from harness.core.errors import BenchError
from harness.core.options import FOLDER, RunOptions
from harness.core.record import RunRecord
from harness.core.types import Calibration, Decoding
from harness.records.weights import facts_of
from harness.specs.costs import Price
from harness.specs.prices import tokens_of
from harness.statistics.intervals import SMALL_N

if TYPE_CHECKING:
    from harness.specs.catalog import Catalog

CAPABLE = 1e9
"""Parameters from which on a language model may follow instructions well."""
TRIAL = 200
"""Rows that a language model is to be tried on."""
INSTRUCTIONS, ANSWER = 150, 5
"""Tokens of a prompt without its text, and of an answer, where no run tells: rough values."""
LOCAL = "mistral"
"""The backend of a capable model that needs no server."""
NEXT_MODELS = ("tfidf", "embed-e5", "minilm", "e5-small")


@dataclass(frozen=True, slots=True)
class Step:
    """`why`, and the command that does it."""

    why: str
    command: str


def next_steps(pool: CandidatePool, catalog: Catalog) -> list[Step]:
    """Empty where a capable language model was tested and nothing was refused."""
    steps: list[Step] = []
    for prompted in (False, True):  # the best of each kind: the others lack the same
        first = next((c for c in pool.refused if c.is_prompted is prompted), None)
        if first is not None and first.entry.record.imported is None:
            steps += list(_instead_of_prompted(first, pool) if prompted else _instead_of_trained(first, pool, catalog))
    if not pool.offered:
        steps += list(_larger_test(pool))
        tried = {c.entry.backend for c in pool.candidates}
        untried = (name for name in NEXT_MODELS if name not in tried and name in catalog.names("backend"))
        steps += [Step("another model", _on_these_rows(pool, backend=name).command()) for name in untried][:1]
    return steps + list(_language_model(pool, catalog))


def _instead_of_prompted(candidate: Candidate, pool: CandidatePool) -> Iterator[Step]:
    record, name, prompt = candidate.entry.record, candidate.entry.display_name, candidate.entry.record.identity.prompt
    assert prompt is not None
    own = [c.entry.record.identity.prompt for c in pool.candidates if c.entry.display_name == name]
    is_unparsed = candidate.finding is not None and candidate.finding.kind is FindingKind.UNPARSED
    if is_unparsed and prompt.decoding is Decoding.FREE:
        yield _again(record, f"{name}: let it choose among the labels", decoding=Decoding.CONSTRAINED)
    elif prompt.decoding is Decoding.SCORE and prompt.calibration is Calibration.NONE:
        yield _again(record, f"{name}: calibrate its scores", calibration=Calibration.BATCH)
    elif len({found.name for found in own if found is not None}) > 1:
        yield Step(f"{name}: compare its prompts", "bench prompts spread")
    else:
        yield _again(record, f"{name}: write another prompt, prompts/NAME.j2", prompt="NAME")


def _instead_of_trained(candidate: Candidate, pool: CandidatePool, catalog: Catalog) -> Iterator[Step]:
    record, name, backend = candidate.entry.record, candidate.entry.display_name, candidate.entry.backend
    options = record.options
    if options.settings:
        plain = _on_these_rows(pool, backend=backend, model=options.model)
        if options.limit is not None:
            plain = plain.changed(limit=options.limit)
        yield Step(f"{name}: use the default settings", plain.command())
    epochs = (record.identity.backend.options.get("train") or {}).get("epochs")
    if epochs:
        yield _again(record, f"{name}: train it longer", settings={**options.settings, "train.epochs": 3 * epochs})
    if backend in catalog.names("backend") and catalog.backend(backend).search:
        tuned = _on_these_rows(pool, backend=backend, model=options.model, split="test")
        yield Step(f"{name}: tune it", shlex.join(["bench", "study", "tune", *tuned.arguments()]))


def _again(record: RunRecord, why: str, **changes: Any) -> Step:
    return Step(why, record.options.changed(**changes).command())


def _on_these_rows(pool: CandidatePool, limit: int | None = None, **options: Any) -> RunOptions:
    """A run on the pool's rows, of `limit` of them where there are more."""
    own: dict[str, Any] = {"task": pool.task, "lang": pool.lang, "split": pool.split}
    if any(c.entry.record.has_own_rows for c in pool.candidates):
        own["data"] = FOLDER
    if limit is not None and pool.n > limit:
        own["limit"] = limit
    return RunOptions(**{**own, **options})


def _larger_test(pool: CandidatePool) -> Iterator[Step]:
    for candidate in pool.refused[:1]:
        record = candidate.entry.record
        if pool.n < SMALL_N and record.options.limit is not None:
            yield _again(record, f"{pool.n} rows are too few to tell: test on all rows", limit=None)


def _language_model(pool: CandidatePool, catalog: Catalog) -> Iterator[Step]:
    """Where no capable one was tested: the command for it, and what it would cost."""
    why = untested(pool)
    if why is None:
        return
    priced = list(_served(catalog))
    tokens = _tokens(pool, catalog) if priced else None
    rows = min(pool.n, TRIAL)
    if tokens is not None:
        prompt, new, source = tokens
        usd, name, price = min((one.of(round(prompt * rows), round(new * rows)), name, one) for name, one in priced)
        cost = f"about ${usd:.2g}" if usd >= 0.01 else "less than $0.01"
        each = f"{prompt:.0f} prompt and {new:.0f} new tokens per row, {source}"
        of_price = f"${price.prompt:g} and ${price.completion:g} per million, {price.source}"
        what = f"{why}: with {name}, {rows} rows cost {cost} ({each}; {of_price})"
        yield Step(what, _on_these_rows(pool, TRIAL, backend=name).command())
    elif priced:
        name, price = min(priced, key=lambda pair: pair[1].prompt)
        of_price = f"${price.prompt:g} and ${price.completion:g} per million prompt and new tokens ({price.source})"
        what = f"{why}: with {name}, {rows} rows at {of_price}"
        yield Step(what, _on_these_rows(pool, TRIAL, backend=name).command())
    local = _on_these_rows(pool, TRIAL, backend=LOCAL)
    yield Step("without a server, on a GPU with 8 GB or more", local.command())


def untested(pool: CandidatePool) -> str | None:
    """Why these rows do not show what a capable language model would do; None where they do."""
    prompted = [c for c in pool.candidates if c.is_prompted]
    if not prompted:
        return "no language model was prompted on these rows"
    able = [c.entry.record for c in prompted if c.finding is None]
    if not able:
        return "no language model that was prompted on these rows is better than chance"
    # Those of a server need not say how large they are.
    counted = [(one, facts_of(one).parameters) for one in able]
    if any(is_served(one) if count is None else count >= CAPABLE for one, count in counted):
        return None
    sizes = [count for _, count in counted if count is not None]
    if len(sizes) < len(able):
        return "no language model on these rows is known to have a billion parameters"
    return f"the largest language model on these rows has {max(sizes) / 1e6:,.0f}M parameters"


def _served(catalog: Catalog) -> Iterator[tuple[str, Price]]:
    """Backends whose tokens have a price, and whose model is not to be shut down."""
    for name in catalog.names("backend"):
        try:
            backend = catalog.backend(name)
        except BenchError:  # an unreadable file of the user's does not matter here
            continue
        if backend.price is not None and backend.price.prompt > 0 and backend.shut_down is None:
            yield name, backend.price


def _tokens(pool: CandidatePool, catalog: Catalog) -> tuple[float, float, str] | None:
    """Prompt and new tokens per row, and where that comes from: a prompted run on these rows, else the task's texts."""
    counted: list[tuple[float, float, str]] = []
    for candidate in pool.candidates:
        tokens, n = candidate.entry.record.tokens, candidate.entry.tested_on or candidate.entry.record.n
        if candidate.is_prompted and tokens.prompt:
            counted.append(((tokens.new or 0) / n, tokens.prompt / n, candidate.entry.backend))
    if counted:
        per_row, prompt, name = max(counted, key=lambda one: one[0])  # a score takes no new tokens
        return prompt, max(per_row, ANSWER), f"as in a run of {name}"
    found = rows_at_hand(catalog, pool.task, pool.lang, pool.split)
    if found is None:
        return None
    texts = [row.text for row in found[1][:TRIAL]]
    return tokens_of(texts) + INSTRUCTIONS, ANSWER, f"estimated from the texts plus {INSTRUCTIONS} for the instructions"
