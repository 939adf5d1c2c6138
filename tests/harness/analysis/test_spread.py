"""How much the prompt matters: apart from what the rows and the few-shot examples do by themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from boards import prompt, record, write_json
from unsealed import unseal

from harness.analysis.spread import Spread, parts_in, spreads
from harness.core.arrays import FloatArray
from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.records.entries import read_entries
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.statistics.row_means import features_of

N = 300
TRUTH = [i % 3 for i in range(N)]


def answers(right: FloatArray | Sequence[bool]) -> list[int]:
    return [label if hit else (label + 1) % 3 for label, hit in zip(TRUTH, right, strict=True)]


def spread_of(store: Store, metric: str | None = None) -> Spread:
    (found,) = spreads(read_entries(store), parts_in(store, metric), metric)
    return found


def test_prompts_of_one_model_are_one_spread(store: Store) -> None:
    for name, right in (("strict", 240), ("terse", 210), ("loose", 150)):
        record(store, "llm", answers(np.arange(N) < right), TRUTH, prompt=prompt(name))
    found = spread_of(store)
    assert [p.name for p in found.prompts] == ["strict", "terse", "loose"]
    assert (found.low, found.middle.value, found.high) == (0.5, 0.7, 0.8)
    assert found.range == pytest.approx(0.3)
    assert (found.n, found.backend, found.how, found.metric) == (N, "llm", "score", "accuracy")
    assert found.beyond
    assert found.sd_seeds is None
    assert found.sentence == (
        "On 300 en rows of toy, the wording moves llm's accuracy from 0.500 to 0.800 (3 prompts, score). The sampling of rows "
        f"alone would give a range of {found.expected:.3f}, so the prompts differ significantly (5% level)."
    )


def test_the_sampling_of_paired_rows_is_that_of_an_analysis_of_variance(store: Store) -> None:
    """Two-way without replication: the mean square of the residuals over n is the sampling variance of a prompt's mean."""
    rng = np.random.default_rng(0)
    hard = rng.random(N)
    hits = np.stack([rng.random(N) * 0.5 + hard * 0.5 < share for share in (0.4, 0.5, 0.55)])
    for name, row in zip("abc", hits, strict=True):
        record(store, "llm", answers(row), TRUTH, prompt=prompt(name))
    found = spread_of(store)
    values = hits.astype(float)
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    error = (residuals**2).sum() / ((N - 1) * (3 - 1)) / N
    assert found.sd_sampling**2 == pytest.approx(error, rel=1e-9)
    assert found.sd_prompts**2 == pytest.approx(values.mean(axis=1).var(ddof=1) - error, rel=1e-9)
    assert found.expected == pytest.approx(1.693 * np.sqrt(error), rel=0.1)  # mean range of three normal values


@pytest.mark.slow
def test_what_chance_alone_does_is_not_called_a_difference(store: Store) -> None:
    beyond = 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        place = Store(store.root / str(trial))
        for name in "abc":
            record(place, "llm", answers(rng.random(N) < 0.6), TRUTH, prompt=prompt(name))
        beyond += spread_of(place).beyond
    assert beyond <= 6  # 2 expected; more than 6 in 40 has a chance of 0.3%


def test_seeds_of_few_shot_examples_are_a_part_of_their_own(store: Store) -> None:
    rng = np.random.default_rng(1)
    shares = {"strict": [0.7, 0.5, 0.9], "loose": [0.5, 0.7, 0.6]}
    hits = {name: [rng.permutation(N) < share * N for share in found] for name, found in shares.items()}
    for name, rows in hits.items():
        for seed, row in enumerate(rows):
            shots = prompt(name, shots=[f"{seed}"], shots_sha256=str(seed))
            record(store, "llm", answers(row), TRUTH, prompt=shots, seed=seed)
    found = spread_of(store)
    assert {p.name: p.value for p in found.prompts} == {"strict": pytest.approx(0.7), "loose": pytest.approx(0.6)}
    assert found.sd_seeds is not None
    between = (np.var([0.7, 0.5, 0.9], ddof=1) + np.var([0.5, 0.7, 0.6], ddof=1)) / 2
    assert found.sd_seeds == pytest.approx(np.sqrt(between), rel=0.1)  # less the little that 300 rows add
    assert found.sd_seeds < np.sqrt(between)
    assert found.sd_prompts == 0  # three seeds each explain that the means differ by 0.1
    assert not found.beyond
    assert found.expected > 0.1
    assert "The sampling of rows and of few-shot examples alone" in found.sentence
    assert "Other few-shot examples move it by" in found.sentence


def test_what_could_not_be_read_is_told(store: Store) -> None:
    record(store, "llm", [None] * 30 + answers(np.ones(N))[30:], TRUTH, prompt=prompt("a"))
    record(store, "llm", answers(np.arange(N) < 100), TRUTH, prompt=prompt("b"))
    assert [p.unparsed for p in spread_of(store).prompts] == [0.1, 0.0]


@pytest.mark.slow
def test_another_decoding_model_or_row_set_is_another_spread(store: Store) -> None:
    for name in ("strict", "loose"):
        for changes in ({}, {"decoding": "free"}, {"calibration": "batch"}, {"decision": "expected"}):
            record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt(name, **changes))
        record(store, "other", answers(np.arange(N) < 200), TRUTH, prompt=prompt(name))
        record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt(name), rows="others")
    record(store, "alone", answers(np.arange(N) < 200), TRUTH, prompt=prompt())
    record(store, "trained", answers(np.arange(N) < 200), TRUTH)
    found = spreads(read_entries(store), parts_in(store))
    assert sorted((s.backend, s.how) for s in found) == [
        ("llm", "free"),
        ("llm", "score"),
        ("llm", "score"),
        ("llm", "score, batch calibration"),
        ("llm", "score, expected value"),
        ("other", "score"),
    ]
    assert all(s.range == 0 and not s.beyond and s.sd_prompts == 0 for s in found)  # all prompts answered alike


def test_two_versions_of_a_prompt_are_two_prompts(store: Store) -> None:
    record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt("strict", sha256="1" * 64))
    record(store, "llm", answers(np.arange(N) < 100), TRUTH, prompt=prompt("strict", sha256="2" * 64, shots=["x"]))
    found = spread_of(store)
    assert [p.name for p in found.prompts] == [
        "strict (11111111, 0 few-shot examples)",
        "strict (22222222, 1 few-shot examples)",
    ]
    assert "the prompt (wording and few-shot examples) moves" in found.sentence


def test_versions_are_told_apart_however_alike_they_begin(store: Store) -> None:
    digests = ["1" * 64, "1" * 12 + "2" * 52]
    for sha256 in digests:
        record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt("strict", sha256=sha256))
    record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt("strict", sha256=digests[0], variant="formal"))
    names = {p.name for p in spread_of(store).prompts}
    versions = (("", digests[0]), ("", digests[1]), (".formal", digests[0]))
    assert names == {f"strict{kind} ({sha[:13]}, 0 few-shot examples)" for kind, sha in versions}


def test_spreads_that_differ_in_something_else_say_so(store: Store) -> None:
    for temperature in (0, 1):
        for name in ("strict", "terse"):
            run = record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt(name), version=temperature)
            written = store.manifest(run)
            written["identity"]["backend"]["options"] = {"temperature": temperature}
            write_json(store.root / run / "run.json", written)
    assert {s.how.split(", ", 1)[1] for s in spreads(read_entries(store), parts_in(store))} == {
        "version=0, temperature=0",
        "version=1, temperature=1",
    }


def test_where_lower_is_better_the_lowest_is_first(store: Store) -> None:
    for name, right in (("a", 100), ("b", 290)):
        record(store, "llm", answers(np.arange(N) < right), TRUTH, prompt=prompt(name))
    assert [p.name for p in spread_of(store, "mae").prompts] == ["b", "a"]
    assert [p.name for p in spread_of(store, "qwk").prompts] == ["b", "a"]


@pytest.mark.parametrize("metric", ["accuracy", "mae", "qwk", "macro_f1", "log_loss"])
def test_parts_give_the_error_of_the_metric(store: Store, metric: str) -> None:
    rng = np.random.default_rng(2)
    given = [None if rng.random() < 0.1 else int(rng.integers(0, 3)) if rng.random() < 0.4 else label for label in TRUTH]
    sure = rng.dirichlet(np.ones(3), N)
    name = record(store, "llm", given, TRUTH, prompt=prompt(), probabilities=lambda i: tuple(sure[i]))
    (found,) = parts_in(store, metric)(read_entries(store))
    assert found.mean() == pytest.approx(0, abs=1e-2)
    features = features_of(read_predictions(store, name), metric)
    assert features is not None
    rows, smooth = features
    again = [smooth(rows[rng.integers(0, N, N)].mean(axis=0)[None, :])[0][0] for _ in range(400)]
    assert np.std(again) == pytest.approx(np.sqrt((found**2).mean() / N), rel=0.2)


def test_rows_of_a_group_count_together(store: Store) -> None:
    """Each row three times, in one group: the sampling is that of the rows once."""
    rng = np.random.default_rng(0)
    once, thrice = Store(store.root / "once"), Store(store.root / "thrice")
    few = np.array(TRUTH[:100])
    for name in "ab":
        given = np.where(rng.random(100) < 0.6, few, (few + 1) % 3)
        record(once, "llm", given.tolist(), few.tolist(), prompt=prompt(name))
        run = record(thrice, "llm", np.repeat(given, 3).tolist(), np.repeat(few, 3).tolist(), prompt=prompt(name))
        path = thrice.root / run / "predictions.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line | {"group": f"g{i // 3}"}) + "\n" for i, line in enumerate(lines)))
        unseal(thrice.root / run)
    assert spread_of(thrice).n == 300
    assert spread_of(thrice).sd_sampling == pytest.approx(spread_of(once).sd_sampling)


def test_several_labels_have_a_spread(store: Store) -> None:
    truth = [(i % 3,) for i in range(90)]
    for name, right in (("a", 80), ("b", 20)):
        given = [label if i < right else ((label[0] + 1) % 3,) for i, label in enumerate(truth)]
        record(store, "llm", given, truth, kind=LabelKind.MULTILABEL, prompt=prompt(name))
    found = spread_of(store)
    assert found.metric == "micro_f1"
    assert found.beyond


def test_a_metric_without_a_spread(store: Store) -> None:
    for name in "ab":
        record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt(name))
    with pytest.raises(UserError, match="spearman"):
        spread_of(store, "spearman")
    assert spreads(read_entries(store), parts_in(store, "log_loss"), "log_loss") == []


def test_a_record_that_lost_rows_is_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abc":
        run = record(store, "llm", answers(np.arange(N) < 200), TRUTH, prompt=prompt(name))
    path = store.root / run / "predictions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert len(spread_of(store).prompts) == 2
    assert run in caplog.text
