"""How much a result depends on the prompt, beyond the sampling of rows and of few-shot examples.

The prompts of one model are measured on the *same* rows, so a hard sample of rows moves none of them against another. With v
the values of p prompts and C the covariance of their errors (the delete-one jackknife over rows, or groups of rows), the
variance of v has the expectation

    between prompts + (mean of the diagonal of C - mean of the rest of C) + between seeds / seeds per prompt

as in a two-way analysis of variance (Searle, Casella, McCulloch 1992, Variance Components, chapter 4); each part is what is
left when the others are taken away, and at least 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.ranks import Configuration, Hits, not_its_rows
from harness.core.arrays import FloatArray
from harness.core.errors import UserError
from harness.core.json_files import digest
from harness.core.record import PromptIdentity
from harness.records.entries import DECISIONS, TITLES, Entry, Group
from harness.records.names import digits_of, told_apart
from harness.records.predictions import predictions_of
from harness.records.store import Store
from harness.statistics.contrast import comparable, measured
from harness.statistics.covariances import covariance
from harness.statistics.jackknife import parts_of_mean
from harness.statistics.metrics import LOWER_IS_BETTER

DRAWS = 4_000
PartsOf = Callable[[Sequence[Entry]], FloatArray]
"""What each row (or group of rows) adds to the error of the metric of these runs, shape (runs, units); see `jackknife`."""


@dataclass(frozen=True)
class Prompted:
    """One prompt; its `value` is the mean over the runs of `row`, whose seeds drew other few-shot examples."""

    name: str
    examples: int
    value: float
    row: Configuration

    @property
    def unparsed(self) -> float:
        """Share of the rows without a parsed answer."""
        return self.row.share("unparsed") + self.row.share("failed")


@dataclass(frozen=True)
class Spread:
    """The prompts of one model and decoding on the same rows, best first.

    `expected`: the mean range of the prompts' values by chance alone, if all prompts were equally good; `beyond`: the range
    is larger than in 95% of such cases. Chance is the sampling of rows, and of few-shot examples where there are several seeds.
    The `sd_` are the standard deviations of the parts; `sd_seeds` is None where no prompt has several seeds.
    """

    group: Group
    n: int
    backend: str
    how: str
    metric: str
    prompts: tuple[Prompted, ...]
    expected: float
    beyond: bool
    sd_prompts: float
    sd_seeds: float | None
    sd_sampling: float

    @property
    def middle(self) -> Prompted:
        """Of an even number the worse of the two in the middle, so that value and interval are of one prompt."""
        return self.prompts[len(self.prompts) // 2]

    @property
    def low(self) -> float:
        return min(prompt.value for prompt in self.prompts)

    @property
    def high(self) -> float:
        return max(prompt.value for prompt in self.prompts)

    @property
    def range(self) -> float:
        return self.high - self.low

    @property
    def sentence(self) -> str:
        task, _, lang, _ = self.group
        what = "the prompt (wording and few-shot examples)" if len({p.examples for p in self.prompts}) > 1 else "the wording"
        verdict = "differ significantly" if self.beyond else "do not differ significantly"
        seeds = (
            "" if self.sd_seeds is None else f" Other few-shot examples move it by {self.sd_seeds:.3f} (standard deviation)."
        )
        chance = "The sampling of rows" if self.sd_seeds is None else "The sampling of rows and of few-shot examples"
        return (
            f"On {self.n:,} {lang} rows of {task}, {what} moves {self.backend}'s {TITLES.get(self.metric, self.metric)} from "
            f"{self.low:.3f} to {self.high:.3f} ({len(self.prompts)} prompts, {self.how}). {chance} alone would give "
            f"a range of {self.expected:.3f}, so the prompts {verdict} (5% level).{seeds}"
        )


def spreads(entries: Sequence[Entry], parts_of: PartsOf, metric: str | None = None) -> list[Spread]:
    """A spread for every model, decoding, calibration and row set with two prompts or more.

    `metric` defaults to the first headline metric. Left out: runs that do not have it.
    """
    together: dict[tuple[Group, str], dict[str, list[Entry]]] = {}
    for entry in entries:
        prompt, metrics = entry.record.identity.prompt, entry.record.metrics
        value = metrics.values.get(metric or metrics.headline[0])
        if prompt is not None and value is not None and value.value is not None:
            wording = digest([prompt.name, prompt.variant, prompt.sha256, prompt.examples])
            together.setdefault((entry.group, _model(entry)), {}).setdefault(wording, []).append(entry)
    found = [_spread(list(prompts.values()), parts_of, metric) for prompts in together.values() if len(prompts) > 1]
    named = _named(found)
    return sorted(named, key=lambda spread: (*spread.group[:3], -spread.n, spread.group[3], spread.backend, spread.how))


def _named(found: Sequence[Spread]) -> list[Spread]:
    """With what distinguishes those on the same rows."""
    named = []
    for group in dict.fromkeys(spread.group for spread in found):
        members = [spread for spread in found if spread.group == group]
        runs = [[run for prompt in spread.prompts for run in prompt.row.runs] for spread in members]
        hows = told_apart(runs, [spread.how for spread in members])
        named += [replace(spread, how=how) for spread, how in zip(members, hows, strict=True)]
    return named


def _model(entry: Entry) -> str:
    """Digest of all that determines a run but the prompt's text, its few-shot examples and the seed."""
    identity = entry.record.identity.model_copy(update={"seed": 0, "prompt": None})
    return digest([identity.as_json(), _decoding(entry)])


def _decoding(entry: Entry) -> str:
    """Decoding, calibration, decision, and the options that were set."""
    prompt = _prompt_of(entry)
    given = prompt.model_fields_set
    calibration = f"{prompt.calibration} calibration" if "calibration" in given else ""
    decision = DECISIONS.get(prompt.decision, prompt.decision) if "decision" in given else ""
    settings = (f"{name}={value}" for name, value in entry.record.options.settings.items())
    return ", ".join(part for part in (prompt.decoding, calibration, decision, *settings) if part)


def _prompt_of(entry: Entry) -> PromptIdentity:
    prompt = entry.record.identity.prompt
    assert prompt is not None
    return prompt


def _spread(prompts: Sequence[Sequence[Entry]], parts_of: PartsOf, metric: str | None) -> Spread:
    first = prompts[0][0]
    name = metric or first.record.metrics.headline[0]
    values = [np.array([entry.record.metrics.values[name].value for entry in runs]) for runs in prompts]
    parts = np.nan_to_num(parts_of([entry for runs in prompts for entry in runs]))  # undefined without some row: QWK, rarely
    errors = covariance([parts.T], [np.arange(parts.shape[1])])
    counts = [len(runs) for runs in prompts]
    of_means = np.repeat(np.eye(len(prompts)), counts, axis=1) / np.array(counts)[:, None]
    sampling = of_means @ errors @ of_means.T
    seeds = _between_seeds(values, errors)
    drawn = [(seeds or 0.0) / len(runs) if _prompt_of(runs[0]).examples or len(runs) > 1 else 0.0 for runs in prompts]
    means = np.array([found.mean() for found in values])
    left = means.var(ddof=1) - _apart(sampling) - sum(drawn) / len(drawn)
    ranges = _ranges(sampling + np.diag(drawn))
    made = [
        Prompted(_name(runs[0], prompts), _prompt_of(runs[0]).examples, float(m), _row(runs, name))
        for runs, m in zip(prompts, means, strict=True)
    ]
    return Spread(
        first.group,
        first.record.metrics.n,
        first.display_name,
        _decoding(first),
        name,
        tuple(sorted(made, key=lambda prompt: (prompt.value if name in LOWER_IS_BETTER else -prompt.value, prompt.name))),
        expected=float(ranges.mean()),
        beyond=bool(np.ptp(means) > np.quantile(ranges, 0.95)),
        sd_prompts=math.sqrt(max(0.0, left)),
        sd_seeds=None if seeds is None else math.sqrt(seeds),
        sd_sampling=math.sqrt(max(0.0, _apart(sampling))),
    )


def _row(runs: Sequence[Entry], metric: str) -> Configuration:
    sign = 1 if metric in LOWER_IS_BETTER else -1
    return Configuration(
        tuple(sorted(runs, key=lambda run: (sign * (run.record.metrics.values[metric].value or 0.0), run.run_id)))
    )


def _apart(covariance: FloatArray) -> float:
    """Expected variance (ddof 1) of values that differ by errors of this covariance alone; 0 for one value."""
    m = len(covariance)
    if m < 2:
        return 0.0
    diagonal = float(np.trace(covariance))
    return diagonal / m - (float(covariance.sum()) - diagonal) / (m * (m - 1))


def _between_seeds(values: Sequence[FloatArray], covariance: FloatArray) -> float | None:
    """Pooled variance between the seeds of a prompt, without that of sampling; None where each has one seed."""
    start, total, freedom = 0, 0.0, 0
    for found in values:
        inside = slice(start, start + len(found))
        start += len(found)
        if len(found) > 1:
            total += (len(found) - 1) * (float(found.var(ddof=1)) - _apart(covariance[inside, inside]))
            freedom += len(found) - 1
    return max(0.0, total / freedom) if freedom else None


def _ranges(covariance: FloatArray) -> FloatArray:
    """Ranges of normal errors of this covariance, shape (DRAWS,)."""
    m = len(covariance)
    jitter = 1e-12 * max(float(np.trace(covariance)), 1e-12) * np.eye(m)  # equal runs make it singular
    drawn = np.random.default_rng(0).standard_normal((DRAWS, m)) @ np.linalg.cholesky(covariance + jitter).T
    return np.asarray(np.ptp(drawn, axis=1))


def _name(entry: Entry, prompts: Sequence[Sequence[Entry]]) -> str:
    """Two versions of one prompt are distinguished by their text's digest."""
    prompt = _prompt_of(entry)
    same = [other.sha256 for runs in prompts if (other := _prompt_of(runs[0])).name == prompt.name]
    if len(same) == 1:
        return prompt.name
    variant = f".{prompt.variant}" if prompt.variant else ""
    return f"{prompt.name}{variant} ({prompt.sha256[: digits_of(same)]}, {prompt.examples} few-shot examples)"


def parts_in(store: Store, metric: str | None = None) -> PartsOf:
    """Read from the records; `metric` defaults to the first headline metric of each run."""

    def parts(entries: Sequence[Entry]) -> FloatArray:
        runs = [predictions_of(store, entry) for entry in entries]
        for run, entry in zip(runs, entries, strict=True):
            if len(run) != entry.record.metrics.n:
                raise not_its_rows(store.root / entry.run_id / "predictions.jsonl")
        name = metric or entries[0].record.metrics.headline[0]
        for run in runs:
            if name not in comparable(run):
                known = ", ".join(comparable(run))
                raise UserError(f"{name!r} has no spread: it is not a function of means over rows.", f"Choose from {known}.")
        return measured(name, [[run] for run in runs]).parts.T

    return parts


def share_parts(hits: Hits) -> PartsOf:
    """Of the accuracy, from what is read already."""

    def parts(entries: Sequence[Entry]) -> FloatArray:
        units = hits.units[entries[0].group[3]]
        return np.stack([parts_of_mean(hits.correct[entry.key].astype(np.float64), units).parts for entry in entries])

    return parts
