"""What to do after a recommendation, or in place of one: what a refused model lacks, and the language model not yet tested."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.analysis.candidates import Candidate, CandidatePool
from harness.analysis.findings import FindingKind
from harness.analysis.pricing import is_served
from harness.analysis.related_runs import own_model, run_command
from harness.analysis.row_sets import is_given
from harness.analysis.rows_today import rows_at_hand
from harness.core.errors import BenchError
from harness.specs.costs import Price
from harness.specs.prices import tokens_of
from harness.statistics.intervals import SMALL_N

if TYPE_CHECKING:
    from harness.specs.catalog import Catalog

CAPABLE = 1e9
"""Parameters of a language model from which on it may be taken for one that follows instructions."""
TRIAL = 200
"""Rows that a language model is to be tried on."""
INSTRUCTIONS, ANSWER = 150, 5
"""Tokens of a prompt without its text, and of an answer, where no run tells: rough values."""
LOCAL = "mistral"
"""A capable model that needs no server: its backend."""
NEXT_MODELS = ("tfidf", "minilm", "e5-small")


@dataclass(frozen=True, slots=True)
class Step:
    """`why`, and the command that does it."""

    why: str
    command: str


def next_steps(field: CandidatePool, catalog: Catalog) -> list[Step]:
    """Empty where a capable language model was tested and nothing was refused."""
    steps: list[Step] = []
    for prompted in (False, True):  # the best of each kind: the others lack the same
        first = next((c for c in field.refused if _is_prompted(c) is prompted), None)
        if first is not None:
            steps += list(_instead_of(first, field, catalog))
    if not field.offered:
        steps += list(_larger_test(field))
        steps += list(_another_model(field, catalog))
    return steps + list(_language_model(field, catalog))


def _is_prompted(candidate: Candidate) -> bool:
    return candidate.entry.manifest["identity"]["prompt"] is not None


def _instead_of(candidate: Candidate, field: CandidatePool, catalog: Catalog) -> Iterator[Step]:
    """What else may be tried with a model that did no better than chance."""
    manifest, name = candidate.entry.manifest, candidate.entry.display_name
    prompt, settings = manifest["identity"]["prompt"], dict(manifest.get("settings") or {})
    if "imported" in manifest or candidate.finding is None:
        return
    if prompt is not None:
        chooses = manifest["identity"]["label_kind"] != "multilabel"  # a set of labels is none of a list of answers
        ran = {c.entry.manifest["identity"]["prompt"]["name"] for c in field.candidates if c.entry.display_name == name}
        if candidate.finding.kind is FindingKind.UNPARSED and prompt["decoding"] == "free" and chooses:
            yield Step(f"{name}: let it choose among the labels", _again(manifest, prompt={"decoding": "constrained"}))
        elif prompt["decoding"] == "score" and "calibration" not in prompt:
            yield Step(f"{name}: calibrate its scores", _again(manifest, prompt={"calibration": "batch"}))
        elif len(ran) > 1:
            yield Step(f"{name}: compare its prompts", "bench prompts spread")
        else:
            yield Step(f"{name}: write another prompt, prompts/NAME.j2", _again(manifest, prompt={"name": "NAME"}))
        return
    if settings:
        limit = manifest.get("limit")
        rows = "" if limit is None else f" --limit {limit}"
        plain = f"bench run{_asked(field)}{rows} --backend {shlex.quote(candidate.entry.backend)}{own_model(manifest)}"
        yield Step(f"{name}: leave out its settings", plain)
    epochs = (manifest["identity"]["backend"]["options"].get("train") or {}).get("epochs")
    if epochs:
        yield Step(f"{name}: train it longer", _again(manifest, settings={**settings, "train.epochs": 3 * epochs}))
    backend = candidate.entry.backend
    if backend in catalog.names("backend") and catalog.backend(backend).search:
        on = f"{own_model(manifest)} --task {shlex.quote(field.task)} --lang {shlex.quote(field.lang)}"
        yield Step(f"{name}: tune it", f"bench study tune --backend {shlex.quote(backend)}{on}{_given(field)}")


def _again(manifest: Mapping[str, Any], **changes: Mapping[str, Any]) -> str:
    """The command of the run, with another `prompt` or other `settings`."""
    identity = dict(manifest["identity"])
    if "prompt" in changes:
        identity["prompt"] = {**identity["prompt"], **changes["prompt"]}
    return run_command({**manifest, "identity": identity, "settings": changes.get("settings", manifest.get("settings"))})


def _asked(field: CandidatePool, limit: int | None = None) -> str:
    """Task and language, and where the rows are not the usual ones, how to get them."""
    rows = _given(field) + ("" if limit is None or field.n <= limit else f" --limit {limit}")
    split = "" if field.group[1] == "test" else f" --split {field.group[1]}"
    return f" --task {shlex.quote(field.task)} --lang {shlex.quote(field.lang)}{split}{rows}"


def _given(field: CandidatePool) -> str:
    return " --data DIR" if any(is_given(c.entry) for c in field.candidates) else ""


def _larger_test(field: CandidatePool) -> Iterator[Step]:
    for candidate in field.refused[:1]:
        manifest = candidate.entry.manifest
        if field.n < SMALL_N and manifest.get("limit") is not None:
            yield Step(f"{field.n} rows are too few to tell: test on all rows", run_command({**manifest, "limit": None}))


def _another_model(field: CandidatePool, catalog: Catalog) -> Iterator[Step]:
    tried = {c.entry.backend for c in field.candidates}
    name = next((name for name in NEXT_MODELS if name not in tried and name in catalog.names("backend")), None)
    if name is not None:
        yield Step("another model", f"bench run{_asked(field)} --backend {name}")


def _language_model(field: CandidatePool, catalog: Catalog) -> Iterator[Step]:
    """Where no capable one was tested: the command for it, and what it would cost."""
    why = untested(field)
    if why is None:
        return
    priced = list(_served(catalog))
    asked = _asked(field, TRIAL)
    tokens = _tokens(field, catalog) if priced else None
    rows = min(field.n, TRIAL)
    if tokens is not None:
        prompt, new, source = tokens
        usd, name, price = min((one.of(round(prompt * rows), round(new * rows)), name, one) for name, one in priced)
        cost = f"about ${usd:.2g}" if usd >= 0.01 else "less than $0.01"
        each = f"{prompt:.0f} prompt and {new:.0f} new tokens a row, {source}"
        of_price = f"${price.prompt:g} and ${price.completion:g} a million, {price.source}"
        told = f"{why}: with {name}, {rows} rows cost {cost} ({each}; {of_price})"
        yield Step(told, f"bench run{asked} --backend {name}")
    elif priced:
        name, price = min(priced, key=lambda pair: pair[1].prompt)
        of_price = f"${price.prompt:g} and ${price.completion:g} a million prompt and new tokens ({price.source})"
        yield Step(f"{why}: with {name}, {rows} rows at {of_price}", f"bench run{asked} --backend {name}")
    yield Step("or without a server, on a GPU of 8 GB or more", f"bench run{asked} --backend {LOCAL}")


def untested(field: CandidatePool) -> str | None:
    """Why these rows do not say what a capable language model would do; None where they do."""
    prompted = [c for c in field.candidates if _is_prompted(c)]
    if not prompted:
        return "no language model was prompted on these rows"
    able = [c for c in prompted if c.finding is None]
    if not able:
        return "no language model that was prompted on these rows does better than chance"
    if any(_is_capable(c) for c in able):
        return None
    sizes = [int(size) for c in able if (size := c.entry.manifest.get("parameters")) is not None]
    if len(sizes) < len(able):
        return "no language model on these rows is known to have a billion parameters"
    return f"the largest language model on these rows has {max(sizes) / 1e6:,.0f}M parameters"


def _is_capable(candidate: Candidate) -> bool:
    """Those of a server need not say how large they are."""
    size = candidate.entry.manifest.get("parameters")
    return is_served(candidate.entry.manifest) if size is None else bool(size >= CAPABLE)


def _served(catalog: Catalog) -> Iterator[tuple[str, Price]]:
    """Backends whose tokens have a price."""
    for name in catalog.names("backend"):
        try:
            price = catalog.backend(name).price
        except BenchError:  # a file of the user's that can't be read is no concern here
            continue
        if price is not None and price.prompt > 0:
            yield name, price


def _tokens(field: CandidatePool, catalog: Catalog) -> tuple[float, float, str] | None:
    """Prompt and new tokens of a row, and where that comes from: a prompted run on these rows, else the task's texts."""
    runs = [c.entry.manifest for c in field.candidates if _is_prompted(c) and _counted(c.entry.manifest).get("prompt")]
    if runs:
        run = max(runs, key=lambda manifest: _counted(manifest)["new"] / manifest["n"])  # a score takes no new ones
        tokens = _counted(run)
        name = run["identity"]["backend"]["name"]
        return tokens["prompt"] / run["n"], max(tokens["new"] / run["n"], ANSWER), f"as in a run of {name}"
    found = rows_at_hand(catalog, field.task, field.lang, field.group[1])
    if found is None:
        return None
    texts = [row.text for row in found[1][:TRIAL]]
    return tokens_of(texts) + INSTRUCTIONS, ANSWER, f"estimated from the texts plus {INSTRUCTIONS} for the instructions"


def _counted(manifest: Any) -> dict[str, Any]:
    return dict(manifest.get("tokens") or {})
