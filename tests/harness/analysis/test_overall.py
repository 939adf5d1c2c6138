"""Configurations over several datasets, from records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import draw, trained_on, write_run

from harness.analysis.overall import overall
from harness.core.errors import UnknownName, UserError
from harness.records.store import Store

LANGS = ("de", "en", "fr", "it", "ja", "ko")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def write(store: Store, lang: str, backend: str, share: float, seed: int = 0, n: int = 120, **options: Any) -> str:
    _, truth = draw(n, seed=LANGS.index(lang) if not options.get("groups") else 0)
    rng = np.random.default_rng([seed, *backend.encode()])
    labels = np.where(rng.random(n) < share, truth, (truth + 1) % 3)
    return write_run(store, truth, labels=labels, backend=backend, lang=lang, seed=seed, **options)


@pytest.mark.slow
def test_six_languages(store: Store) -> None:
    for lang in LANGS:
        for backend, share in (("good", 0.9), ("fair", 0.7), ("poor", 0.45)):
            write(store, lang, backend, share)
    write(store, "en", "alone", 0.99)
    for lang in LANGS[:2]:
        write(store, lang, "some", 0.6)
    found = overall(store, reference="fair")
    assert [dataset.lang for dataset in found.datasets] == list(LANGS)
    assert {(dataset.n, dataset.metric, dataset.groups) for dataset in found.datasets} == {(120, "accuracy", None)}
    assert [one.name.partition(" ")[0] for one in found.standings] == ["good", "fair", "poor"]
    good, fair, poor = found.standings
    assert (good.rank.value, fair.rank.value, poor.rank.value) == (1, 2, 3)
    accuracies = [store.record(runs[0]).metrics.values["accuracy"].value for runs in good.runs]
    assert good.values == pytest.approx(accuracies)
    assert good.gap.value == pytest.approx(np.mean(np.array(good.values) - np.array(fair.values)))
    assert good.gap.low > 0 > poor.gap.high
    assert fair.versus is None
    assert good.versus is not None
    assert good.versus.posterior.better > 0.95
    assert good.versus.p == pytest.approx(2 / 2**6)
    assert good.versus.p_holm == pytest.approx(2 * good.versus.p)
    assert found.friedman is not None
    assert found.friedman < 0.01
    assert list(found.incomplete.values()) == [2]
    assert not found.few


def test_a_model_for_each_language_is_one_configuration(store: Store) -> None:
    for lang in ("en", "de"):
        own = {**trained_on(50), "langs": [lang], "train_rows": lang}
        write(store, lang, "encoder", 0.8, train=own)
        write(store, lang, "llm", 0.7)
    found = overall(store)
    names = sorted(one.name for one in found.standings)
    assert names == ["encoder (trained on 50 of its own language)", "llm (strict · score)"]
    assert found.few
    assert (found.friedman, found.compared_with) == (None, None)
    assert all(one.gap.high <= 0 for one in found.standings)
    assert all(one.versus is None for one in found.standings)


@pytest.mark.slow
def test_seeds_are_averaged(store: Store) -> None:
    for lang in ("en", "de"):
        write(store, lang, "a", 0.5)
        for seed in (0, 1, 2):
            write(store, lang, "b", 0.7 + 0.1 * seed, seed)
    b = next(one for one in overall(store).standings if one.name.startswith("b"))
    assert [len(runs) for runs in b.runs] == [3, 3]
    each = [store.record(run).metrics.values["accuracy"].value or 0.0 for run in b.runs[0]]
    assert b.values[0] == pytest.approx(np.mean(each))


def test_parallel_sentences_are_drawn_together(store: Store, tmp_path: Path) -> None:
    """The same answers to the same sentences in three languages are the evidence of one."""
    sentences = [f"s{i}" for i in range(120)]
    apart = Store(tmp_path / "apart")
    for lang in ("de", "en", "fr"):
        for backend, share in (("a", 0.8), ("b", 0.7)):
            write(store, lang, backend, share, groups=sentences)
            write(apart, lang, backend, share, groups=[f"{lang} {sentence}" for sentence in sentences])
    together, separate = overall(store, reference="a"), overall(apart, reference="a")
    assert (together.shares_groups, separate.shares_groups) == (True, False)
    assert [dataset.groups for dataset in together.datasets] == [120] * 3
    widths = [one.standings[1].gap.high - one.standings[1].gap.low for one in (together, separate)]
    assert widths[0] == pytest.approx(np.sqrt(3) * widths[1], rel=0.1)


def test_slips(store: Store) -> None:
    write(store, "en", "a", 0.8)
    with pytest.raises(UserError):
        overall(store)
    write(store, "de", "a", 0.8)
    with pytest.raises(UserError):
        overall(store)
    for lang in ("en", "de"):
        write(store, lang, "b", 0.7)
        write(store, lang, "bb", 0.6)
    assert len(overall(store).standings) == 3
    with pytest.raises(UnknownName):
        overall(store, tasks=["toys"])
    with pytest.raises(UnknownName):
        overall(store, langs=["fr"])
    for wrong in ("nothing", "b"):
        with pytest.raises(UserError):
            overall(store, reference=wrong)
    with pytest.raises(UserError):
        overall(store, metric="qwk")
    assert overall(store, metric="macro_f1").datasets[0].metric == "macro_f1"
