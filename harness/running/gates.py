"""Sanity gates: checks that a run measures what it should. Failed gates of prompts stop a run after its first rows.

`text_in_prompt`     prompted: each text is in the prompt, after the chat template
`label_mass`         `score`: the labels together have some probability
`answers_unparsed`   other decodings: some of the first answers could be parsed
`rows_unanswered`    servers: some of the first rows have an answer; recorded only if none has
`prompts_cut`        servers: not fewer tokens were read than words were sent
`texts_cut`          classifiers: few texts are truncated
`one_label`          classifiers: not every text gets the same label, or nearly every one
`unseen_labels`      classifiers: each label of the rows is that of a training row; recorded only if one is not

A gate uses texts and predictions and does not change the predictions or the identity of a run. Of true labels `unseen_labels`
alone uses the set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from harness.core.engine import Classifier, Encoded, LanguageModel
from harness.core.errors import GateFailed
from harness.core.record import MANY_CUT, Cut, Gate, GateOutcome, Training
from harness.core.types import Decoding, Label, Prediction, Status
from harness.data.label_table import unseen_labels, unseen_sentence
from harness.records.journal import CutCounts, JournalEntry
from harness.running.batching import WINDOW, Item, distinct
from harness.running.plan import Plan

ENOUGH = 16
"""Rows with an answer before the gates are evaluated; rows without one before a server gets no more requests."""
LEAST_TOKENS = 0.75
"""Tokens per word that a server reads at least, unless it truncates the prompts."""
ALTERED = 0.1
"""Share of checked prompts that may lack their text; the run stops above it."""
LEAST_MASS = 0.01
"""Least probability of the labels together; below it the model would answer something else."""
CONSTANT = 0.05
"""Share of the other labels that a trained model would give if it gave them as often as its training rows have them. Up to it
the model counts as one that gives a single label."""
ENOUGH_STEPS = 200
"""Of a training that is advised where an earlier one led to a single label: 20 passes over 160 rows in batches of 16. Mosbach
et al. 2021 (arXiv:2006.04884) train small sets for 20 epochs."""
DISTINCT = 20
"""Least number of texts for the gate `one_label`."""

HINTS = {
    "text_in_prompt": "Use a checkpoint whose chat template shows the user's turn. --no-gate continues anyway.",
    "answers_unparsed": "Change the prompt, its parser or `max_new_tokens`. The answers are kept: --no-gate continues.",
    "rows_unanswered": "Change the model, the prompt, or `max_new_tokens` in its front matter (cut: they were used up before "
    "the answer; behind a server that reasons, --set reasoning_tokens=2000 adds room). --no-gate continues.",
}
"""Hints of the gates that can stop a run."""


def _gate(name: str, outcome: GateOutcome, message: str, value: float | None = None) -> Gate:
    return Gate(name=name, outcome=outcome, message=message, value=value)


class Gates:
    """The gates of one run. With `stops` a failed one raises `GateFailed`; else the run continues, and the record holds it.
    `found`: the gates so far."""

    def __init__(self, plan: Plan, answers: Path, stops: bool) -> None:
        """`answers`: the file with the model's answers."""
        self._plan, self._answers, self._stops = plan, answers, stops
        self.found: list[Gate] = []
        self._first: list[Prediction] = []
        self._prompt_tokens = 0

    def before(self) -> None:
        """Once the model is loaded, before the first row."""
        if isinstance(self._plan.engine, LanguageModel):
            self._keep(text_in_prompt(self._plan, self._plan.engine))

    def see(self, entry: JournalEntry) -> None:
        """A batch of the journal, also of an earlier start of the run."""
        if not isinstance(self._plan.engine, Classifier) and entry.rows and not self._is_judged():
            self._first += [row for row in entry.rows if row.id not in entry.ask_again]
            self._prompt_tokens += entry.prompt_tokens
            if self._is_judged():
                self._evaluate()

    def finished(self, predictions: Sequence[Prediction], cut: Cut | None, training: Training | None) -> list[Gate]:
        """All gates. `training`: what the record says of it."""
        if not isinstance(self._plan.engine, Classifier) and not self._is_judged():
            self._evaluate()
        if cut is not None:
            train = None if training is None else training.cut
            steps = None if training is None else training.steps
            self.found += [texts_cut(cut, train, self._plan.engine.options), *one_label(self._plan, predictions, steps)]
        self.found += unseen(self._plan)
        return self.found

    def _is_judged(self) -> bool:
        return len(_answered(self._first)) >= ENOUGH or self._is_unanswered()

    def _is_unanswered(self) -> bool:
        """Whether a server answered none of many rows, for permanent reasons."""
        return self._plan.engine.model_is == "name" and len(self._first) >= ENOUGH and not _answered(self._first)

    def _evaluate(self) -> None:
        if self._is_unanswered():
            self._keep(rows_unanswered(self._first))
            return
        if self._plan.prompt is None:
            return
        for gate in of_first_rows(self._plan, _answered(self._first), self._prompt_tokens):
            self._keep(gate)

    def _keep(self, gate: Gate) -> None:
        self.found.append(gate)
        if gate.outcome is GateOutcome.FAILED and self._stops:
            where = f" The answers: {self._answers}" if gate.name == "answers_unparsed" else ""
            besides = "".join(f" {found.message}" for found in self.found if found.outcome is GateOutcome.WARNED)
            message = f"{self._plan.run_id} is stopped ({gate.name}): {gate.message}{where}{besides}"
            raise GateFailed(message, HINTS[gate.name])


def text_in_prompt(plan: Plan, engine: LanguageModel) -> Gate:
    """Whether every turn of the chats (the last one holds the text) is in the prompt after the model's chat template, apart
    from white space. Checked with the longest texts, which are truncated first. (The `Renderer` checks the user's template.)"""
    assert plan.prompt is not None
    name, lacking = "text_in_prompt", []
    items = distinct(plan.rows)[:WINDOW]
    for item, chat in zip(items, plan.prompt.chats([item.text for item in items]), strict=True):
        prompt = engine.rendered(chat)
        if prompt is None:
            return _gate(name, GateOutcome.PASSED, "The texts are in the prompts that are sent to the server.")
        shown = _bare(prompt)
        if not all(_bare(turn["content"]) in shown for turn in chat):
            lacking.append(item.rows[0].id)
    share = len(lacking) / len(items)
    if not lacking:
        return _gate(name, GateOutcome.PASSED, f"The first {len(items)} texts are in the prompts as the model reads them.", 1.0)
    return _gate(
        name,
        GateOutcome.FAILED if share > ALTERED else GateOutcome.WARNED,
        f"{len(lacking)} of {len(items)} prompts lack a part of their texts (rows {_some(lacking)}): the chat template of this "
        "model drops or alters it.",
        round(1 - share, 6),
    )


def _bare(text: str) -> str:
    """Without what a template may change: white space, and the mark that splits a control token in a text."""
    return " ".join(text.replace("\u200b", "").split())


def of_first_rows(plan: Plan, rows: Sequence[Prediction], prompt_tokens: int) -> list[Gate]:
    """`rows` of the journal that have an answer; `prompt_tokens`: read for them. The gate that can stop a run comes last."""
    assert plan.prompt is not None
    served = plan.engine.model_is == "name"
    if plan.prompt.prompt.spec.decoding is Decoding.SCORE:
        judged = label_mass([row.log_p for row in rows if row.log_p is not None], served)
    else:
        judged = answers_unparsed(rows, paid=served)
    return [*([prompts_cut(plan, rows, prompt_tokens)] if served else []), judged]


def _answered(rows: Sequence[Prediction]) -> list[Prediction]:
    return [row for row in rows if row.status != Status.FAILED]


def prompts_cut(plan: Plan, rows: Sequence[Prediction], prompt_tokens: int) -> Gate:
    """Some servers silently truncate a prompt that is longer than their context. For nearly all tokenizers a word is at least a
    token."""
    assert plan.prompt is not None
    asked = {row.id for row in rows}
    chats = plan.prompt.chats(list({row.text for row in plan.rows if row.id in asked}))
    words = sum(len(turn["content"].split()) for chat in chats for turn in chat)
    read = f"The server read {prompt_tokens:,} tokens for the first {len(chats)} prompts, which have {words:,} words"
    if not prompt_tokens:
        return _gate("prompts_cut", GateOutcome.PASSED, "The server does not report the number of tokens.")
    if prompt_tokens >= LEAST_TOKENS * words:
        return _gate("prompts_cut", GateOutcome.PASSED, f"{read}.", prompt_tokens)
    advice = "Raise its context length (Ollama: num_ctx; llama.cpp: --ctx-size)."
    return _gate("prompts_cut", GateOutcome.WARNED, f"{read}: it seems to truncate long prompts. {advice}", prompt_tokens)


def label_mass(log_p: Sequence[Sequence[float]], served: bool) -> Gate:
    """`log_p` of each whole answer, shape (rows, answers), before calibration; upper bounds for a server."""
    name = "label_mass"
    if not log_p:
        return _gate(name, GateOutcome.PASSED, "No row has scores.")
    mass = float(np.median(np.exp(np.array(log_p)).sum(axis=1)))
    most = "at most " if served else ""
    found = f"The labels together have {most}{mass:.2g} of the probability (median of {len(log_p)} rows)"
    value = float(f"{mass:.4g}")
    if mass >= LEAST_MASS:
        return _gate(name, GateOutcome.PASSED, f"{found}.", value)
    advice = "Check the prompt, and the answers with `--decoding free`."
    return _gate(name, GateOutcome.WARNED, f"{found}: freely, the model would answer something else. {advice}", value)


def answers_unparsed(rows: Sequence[Prediction], *, paid: bool) -> Gate:
    """`rows` that have an answer. A `paid` server gets no more requests if none of `ENOUGH` answers could be parsed."""
    name = "answers_unparsed"
    reasons = Counter(row.reason for row in rows if row.status == Status.UNPARSED)
    unparsed = reasons.total()
    value = round(unparsed / len(rows), 6) if rows else None
    if unparsed < len(rows) or not rows:
        parsed = f"{len(rows) - unparsed} of the first {len(rows)} answers could be parsed."
        return _gate(name, GateOutcome.PASSED, parsed, value)
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    failed = paid and len(rows) >= ENOUGH
    message = f"None of the first {len(rows)} answers could be parsed ({why})."
    return _gate(name, GateOutcome.FAILED if failed else GateOutcome.WARNED, message, value)


def rows_unanswered(rows: Sequence[Prediction]) -> Gate:
    """Each may have cost money: a model that thinks until its tokens are used up gives no answer."""
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(Counter(row.reason for row in rows).items()))
    return _gate("rows_unanswered", GateOutcome.FAILED, f"None of the first {len(rows)} rows has an answer ({why}).", 1.0)


def texts_cut(cut: Cut, train: Cut | None, options: BaseModel) -> Gate:
    """Never fails: the beginning of a text may be enough. `options`: those of the engine, some of which are a way out."""
    before = 0.0 if train is None else train.share
    found = f"{cut.share:.1%} of the texts ({cut.texts:,}) are truncated: {cut.tokens_lost_share:.1%} of all tokens are lost."
    if train is not None:
        found += f" Of the training texts {before:.1%} are truncated."
    if max(cut.share, before) <= MANY_CUT:
        return _gate("texts_cut", GateOutcome.PASSED, found if cut.texts else "No text is truncated.", cut.share)
    return _gate("texts_cut", GateOutcome.WARNED, f"{found} {_read_more(options)}", cut.share)


def _read_more(options: BaseModel) -> str:
    """How a model is made to read more of long texts, by the options that its engine has."""
    if getattr(options, "max_windows", None) is not None:
        return "--set max_windows=null reads all of them."
    ways = {"max_length": "--set max_length=N reads more of them", "long_texts": "--set long_texts=windows reads all"}
    known = [way for name, way in ways.items() if name in type(options).model_fields]
    return f"{', '.join(known)}." if known else "Use a model for longer texts."


def one_label(plan: Plan, predictions: Sequence[Prediction], steps: int | None = None) -> list[Gate]:
    """Empty for `majority`, which always gives one label, and for few texts. `steps`: of the training.

    A trained model is also warned of where it gives other labels far more seldom than its training rows have them."""
    if plan.identity.backend.is_majority or len({row.text for row in plan.rows}) < DISTINCT:
        return []
    labels = [prediction.label for prediction in predictions if prediction.label is not None]
    if not labels:
        return [_gate("one_label", GateOutcome.PASSED, "0 different answers were given.")]
    names, (label, often) = plan.task.label_space.names, Counter(labels).most_common(1)[0]
    if len(labels) - often > CONSTANT * len(labels) * _others(plan, label) or (often < len(labels) and plan.training is None):
        return [_gate("one_label", GateOutcome.PASSED, f"{len(set(labels))} different answers were given.")]
    named = ", ".join(repr(names[index]) for index in (label if isinstance(label, tuple) else (label,))) or "none of the labels"
    trained = plan.training is not None
    advice = _train_longer(plan, steps) if trained else "Descriptions of the labels in the task may help."
    rows = f"All {len(labels):,} rows" if often == len(labels) else f"{often:,} of {len(labels):,} rows"
    return [_gate("one_label", GateOutcome.WARNED, f"{rows} get the same answer: {named}. {advice}")]


def _others(plan: Plan, label: Label) -> float:
    """The share of training rows with another label; 0 without any."""
    rows = [] if plan.training is None else plan.training.train
    return sum(row.label != label for row in rows) / len(rows) if rows else 0.0


def _train_longer(plan: Plan, steps: int | None) -> str:
    """What to do about a training that has not left the constant, where its engine has steps."""
    assert plan.training is not None
    engine, nothing = plan.engine, "The model may have learned nothing."
    if steps is None or not isinstance(engine, Classifier):
        return nothing
    longer = engine.with_min_steps(engine.options, len(plan.training.train), max(ENOUGH_STEPS, 3 * steps))
    ways = " ".join(f"--set {name}={value}" for name, value in longer.items())
    return f"{nothing} Its training took {steps:,} steps" + (f": {ways} trains longer." if ways else ".")


def unseen(plan: Plan) -> list[Gate]:
    """Whether rows have a label that no training row has, which no answer can be right for. Empty if none has."""
    if plan.training is None or plan.identity.backend.is_majority or not plan.has_truth:
        return []
    labels = unseen_labels(plan.rows, plan.training.train, plan.task.label_space.names)
    if not labels:
        return []
    message = unseen_sentence(labels, len(plan.rows), plan.options.split)
    return [_gate("unseen_labels", GateOutcome.WARNED, message, sum(labels.values()) / len(plan.rows))]


def cut_counts(items: Iterable[Item]) -> CutCounts:
    """Of one batch; a text that several rows have counts for each."""
    forms = [item.encoded for item in items for _ in item.rows]
    return _counts(forms)


def _counts(forms: Sequence[Encoded]) -> CutCounts:
    return {
        "rows": len(forms),
        "cut": sum(form.cut > 0 for form in forms),
        "tokens": sum(form.tokens for form in forms),
        "lost": sum(form.cut for form in forms),
    }


def cut_of(counts: Iterable[CutCounts]) -> Cut:
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    tokens = total["tokens"] + total["lost"]
    return Cut(
        texts=total["cut"],
        share=round(total["cut"] / total["rows"], 6) if total["rows"] else 0.0,
        tokens_lost_share=round(total["lost"] / tokens, 6) if tokens else 0.0,
    )


def cut_while_training(engine: Classifier, texts: Sequence[str]) -> Cut:
    """The `Cut` of the training texts."""
    starts = range(0, len(texts), WINDOW)
    return cut_of(_counts(engine.encode(texts[start : start + WINDOW])) for start in starts)


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
