"""What `bench recommend` says to run next: in place of what it refuses, and where no capable language model was tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import PROMPT, entry_of, trained_on, write_run
from unsealed import unseal

from harness.analysis.candidates import CandidatePool, pool_of
from harness.analysis.next_steps import next_steps, untested
from harness.analysis.ranks import Configuration
from harness.analysis.recommend import Question, changes_of, recommend
from harness.records.store import Store
from harness.reports.text.recommend import sentence
from harness.specs.catalog import Catalog
from harness.specs.prices import PriceFile, Prices

NONE = PriceFile(hardware={}, models={})
N = 300
TRUTH = np.arange(N) % 3
GOOD = np.where(np.arange(N) % 5 == 0, (TRUTH + 1) % 3, TRUTH)
CONSTANT = np.zeros(N, dtype=np.int64)
SERVED = {"name": "api", "engine": "openai", "model": "big", "revision": None, "options": {}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def pool(store: Store) -> CandidatePool:
    return pool_of(store, "toy", "en", "test", Prices(NONE, NONE), [])


def commands(store: Store, project: Path) -> list[str]:
    return [step.command for step in next_steps(pool(store), Catalog(project))]


def reasons(store: Store, project: Path) -> str:
    return "\n".join(step.why for step in next_steps(pool(store), Catalog(project)))


def prompted(store: Store, labels: Any = GOOD, backend: str = "llm", **manifest: Any) -> str:
    return write_run(store, TRUTH, labels=labels, backend=backend, prompt=dict(PROMPT), **manifest)


def test_a_constant_is_refused_and_what_to_run_instead_is_said(store: Store, tmp_path: Path) -> None:
    write_run(store, TRUTH, labels=CONSTANT, backend="tfidf", train=trained_on(50), settings={"c": 1e-9})
    found = recommend(store, pool(store), Question())
    assert (found.recommended, found.nearest) == (None, None)
    assert sentence(found, changes_of(found.pool.offered, Question())) == (
        "For 1,000,000 en rows of toy, nothing can be recommended: tfidf (trained on 50 en, c=1.0e-09) gives one answer, "
        "'bad', to all 300 rows."
    )
    ran = commands(store, tmp_path)
    assert ran[:2] == ["bench run --backend tfidf --task toy --lang en", "bench run --backend embed-e5 --task toy --lang en"]


def test_a_collapsed_training_beside_one_that_is_good(store: Store, tmp_path: Path) -> None:
    write_run(store, TRUTH, labels=GOOD, backend="tfidf", train=trained_on(50))
    write_run(store, TRUTH, labels=CONSTANT, backend="minilm", train=trained_on(50))
    one = pool(store)
    assert [c.name for c in one.refused] == ["minilm"]
    assert [c.name for c in one.offered] == ["tfidf"]
    assert "bench study tune --backend minilm --task toy --lang en" in commands(store, tmp_path)
    assert not any("--backend tfidf" in command for command in commands(store, tmp_path))


@pytest.mark.parametrize(
    ("labels", "asked", "option"),
    [
        ([None] * N, {"decoding": "free"}, "--decoding constrained"),
        (CONSTANT, {}, "--decoding score --calibration batch"),
        (CONSTANT, {"calibration": "batch"}, "--prompt NAME --decoding score --calibration batch"),
        ([None] * N, {"decoding": "constrained"}, "--prompt NAME --decoding constrained"),
    ],
)
def test_what_else_a_prompt_can_do(store: Store, tmp_path: Path, labels: Any, asked: dict[str, str], option: str) -> None:
    write_run(store, TRUTH, labels=labels, backend="llm", prompt={**PROMPT, **asked})
    assert option in commands(store, tmp_path)[0]
    assert "no language model that was prompted on these rows is better than chance" in reasons(store, tmp_path)


def test_no_language_model_at_all(store: Store, tmp_path: Path) -> None:
    write_run(store, TRUTH, labels=GOOD, backend="tfidf", train=trained_on(50))
    first, last = next_steps(pool(store), Catalog(tmp_path))
    assert first.why.startswith("no language model was prompted on these rows: with gpt-6-luna, 200 rows at $")
    assert first.command.startswith("bench run --backend ")
    assert last.command == "bench run --backend mistral --task toy --lang en --limit 200"


def test_what_it_costs_by_the_tokens_of_a_run(store: Store, tmp_path: Path) -> None:
    (tmp_path / "backends").mkdir()
    price = "price: {prompt: 0.001, completion: 0.001, source: here}\n"
    (tmp_path / "backends" / "cheap.yaml").write_text(f"engine: openai\nmodel: c\n{price}", encoding="utf-8")
    prompted(store, tokens={"prompt": 400 * N, "new": 10 * N}, checkpoint={"parameters": 135_000_000})
    first, _ = next_steps(pool(store), Catalog(tmp_path))
    assert first.why == (
        "the largest language model on these rows has 135M parameters: with cheap, 200 rows cost less than $0.01 (400 prompt "
        "and 10 new tokens per row, as in a run of llm; $0.001 and $0.001 per million, here)"
    )
    assert first.command == "bench run --backend cheap --task toy --lang en --limit 200"


def test_a_model_that_is_shut_down_is_not_suggested(store: Store, tmp_path: Path) -> None:
    (tmp_path / "backends").mkdir()
    spec = "engine: openai\nmodel: c\nprice: {prompt: 0.001, completion: 0.001, source: here}\nshut_down: 2027-01-14\n"
    (tmp_path / "backends" / "cheap.yaml").write_text(spec, encoding="utf-8")
    prompted(store, tokens={"prompt": 400 * N, "new": 10 * N}, checkpoint={"parameters": 135_000_000})
    first, _ = next_steps(pool(store), Catalog(tmp_path))
    assert first.command == "bench run --backend gpt-6-luna --task toy --lang en --limit 200"


def test_a_capable_language_model_was_tested(store: Store, tmp_path: Path) -> None:
    prompted(store, checkpoint={"parameters": 7_000_000_000})
    assert untested(pool(store)) is None
    assert commands(store, tmp_path) == []


@pytest.mark.parametrize(
    ("identity", "manifest", "expected"),
    [
        ({}, {}, "no language model on these rows is known to have a billion parameters"),
        ({}, {"checkpoint": {"parameters": 600_000_000}}, "the largest language model on these rows has 600M parameters"),
    ],
)
def test_sizes_that_are_small_or_not_recorded(store: Store, identity: Any, manifest: Any, expected: str) -> None:
    prompted(store, **manifest)
    assert untested(pool(store)) == expected
    prompted(store, backend="majority-like", labels=CONSTANT, parameters=8_000_000_000)
    assert untested(pool(store)) == expected  # one that does no better than chance says nothing


def test_a_server_need_not_say_how_large_its_model_is(store: Store) -> None:
    unseal(store.root / prompted(store), lambda manifest: manifest["identity"]["backend"].pop("device"))
    assert untested(pool(store)) is None


def test_few_rows_of_a_limit(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_run(store, TRUTH[:30], labels=rng.permutation(TRUTH[:30]), backend="tfidf", train=trained_on(50), limit=30)
    assert "30 rows are too few to tell: test on all rows" in reasons(store, tmp_path)
    assert not any("--limit" in command for command in commands(store, tmp_path))


def served(store: Store, run: str, backend: dict[str, Any], model: str | None = None) -> None:
    """Let the record say that this backend made the run, and that `--model` was given."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["identity"]["backend"] = backend
        manifest["options"]["model"] = model or backend["model"]

    unseal(store.root / run, change)


def test_what_is_run_again_is_what_was_run(store: Store, tmp_path: Path) -> None:
    """Its model, the few-shot examples' seed, settings and rows stay; only what is to change does."""
    prompt = {**PROMPT, "decoding": "free"}
    asked = {"settings": {"chat_template": "rag"}, "limit": 300}
    served(store, write_run(store, TRUTH, labels=[None] * N, backend="api", prompt=prompt, seed=2, **asked), SERVED)
    assert commands(store, tmp_path)[0] == (
        "bench run --backend api --task toy --lang en --prompt strict --decoding constrained --set chat_template=rag --seed 2 "
        "--limit 300 --model big"
    )


def test_training_longer_replaces_the_number_of_epochs_and_keeps_the_model(store: Store, tmp_path: Path) -> None:
    asked = {"settings": {"train.epochs": 2}}
    run = write_run(store, TRUTH, labels=CONSTANT, backend="minilm", train=trained_on(50), **asked)
    backend = {
        "name": "minilm",
        "engine": "encoder",
        "revision": "sha256",
        "options": {"train": {"epochs": 2}},
        "device": "cpu",
    }
    served(store, run, {**backend, "model": "mine"}, "PATH")
    ran = commands(store, tmp_path)
    assert "bench run --backend minilm --task toy --lang en --model PATH" in ran
    (longer,) = [command for command in ran if "train.epochs" in command]
    assert longer.count("--set train.epochs=6") == longer.count("--set") == longer.count("--model PATH") == 1
    assert "bench study tune --backend minilm --task toy --lang en --model PATH" in ran


def test_of_two_models_of_a_backend_the_refused_one_is_named(store: Store, tmp_path: Path) -> None:
    for name, labels in (("good", GOOD), ("bad", CONSTANT)):
        served(store, prompted(store, labels=labels, backend=name), {**SERVED, "model": name})
    assert [c.entry.display_name for c in pool(store).refused] == ["api:bad"]


def test_two_prompts_are_compared_before_a_third_is_written(store: Store, tmp_path: Path) -> None:
    for name in ("strict", "short"):
        write_run(store, TRUTH, labels=CONSTANT, backend="llm", prompt={**PROMPT, "name": name, "calibration": "batch"})
    assert commands(store, tmp_path)[0] == "bench prompts spread"


def test_a_set_of_labels_is_chosen_as_a_list_of_names(store: Store, tmp_path: Path) -> None:
    write_run(store, TRUTH, labels=[None] * N, backend="llm", prompt={**PROMPT, "decoding": "free"})
    found = pool(store)
    (one,) = found.candidates
    as_sets = entry_of({"identity": {**one.entry.record.identity.as_json(), "label_kind": "multilabel"}})
    found = replace(found, candidates=[replace(one, row=Configuration((as_sets,)))])
    assert "--decoding constrained" in next_steps(found, Catalog(tmp_path))[0].command
