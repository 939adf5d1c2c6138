"""Try a prompt on a few validation rows with a real model: `bench prompts check`. Test rows are never used for it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from harness.core.engine import LanguageModel
from harness.core.errors import UserError
from harness.core.progress_events import OnProgress
from harness.core.types import Calibration, Label, Status
from harness.running.batching import batches
from harness.running.plan import Plan
from harness.running.predicting import finalize_predictions, launched
from harness.running.runner import EngineSlot


@dataclass(frozen=True, slots=True)
class PromptTrial:
    """`readable`: rows whose answer is a label; `refused`: reason -> rows. `answers`: labels -> rows, commonest first.
    `label_mass`: of `score`, the probability of all labels together, median. `tokens`: of the longest prompt, and `context`:
    what the model can read, where they are known."""

    backend: str
    lang: str
    decoding: str
    rows: int
    readable: int
    refused: dict[str, int]
    answers: dict[str, int]
    label_mass: float | None
    tokens: int
    context: int | None

    @property
    def one_answer(self) -> bool:
        """Whether several rows got one answer all."""
        return len(self.answers) == 1 and self.readable > 1


def try_prompt(plan: Plan, watch: OnProgress) -> PromptTrial:
    """Answers to the plan's rows; nothing is recorded. Raises `UserError` for a backend that is not prompted, and what a run
    raises."""
    if plan.prompt is None or not isinstance(plan.engine, LanguageModel):
        raise UserError(f"{plan.backend.name} reads no prompt.", "Name a language model, such as qwen-coder-0.5b.")
    if plan.options.split == "test":
        raise UserError("A prompt is tried on validation rows.", "Leave the test rows for `bench run`.")
    decoding = plan.prompt.prompt.spec.decoding
    with closing(EngineSlot()) as slot:
        plan, _, _ = slot.ready(plan, watch)
        found, longest = [], 0
        for batch, outcome in launched(plan, batches(plan, ()), plan.engine.ahead()):
            longest = max(longest, *(item.encoded.tokens for item in batch))
            found += outcome().predictions
            watch("predict", len(found), len(plan.rows), "")
        assert isinstance(plan.engine, LanguageModel)
        context = plan.engine.context()
    log_p = [row.log_p for row in found if row.log_p is not None]
    # Without calibration, which needs all rows of a run.
    labels = {row.id: row.label for row in finalize_predictions(_uncalibrated(plan), found, None)}
    readable = [label for label in labels.values() if label is not None]
    reasons = Counter(str(row.reason) for row in found if row.status is not Status.OK and labels[row.id] is None)
    names = Counter(_named(label, plan.task.label_space.names) for label in readable)
    return PromptTrial(
        backend=plan.backend.name,
        lang=plan.options.lang,
        decoding=str(decoding),
        rows=len(found),
        readable=len(readable),
        refused=dict(reasons.most_common()),
        answers=dict(names.most_common()),
        label_mass=float(np.median(np.exp(np.array(log_p)).sum(axis=1))) if log_p else None,
        tokens=longest,
        context=context,
    )


def _uncalibrated(plan: Plan) -> Plan:
    assert plan.prompt is not None
    prompt = plan.prompt.prompt
    spec = prompt.spec.model_copy(update={"calibration": Calibration.NONE})
    return replace(plan, prompt=replace(plan.prompt, prompt=replace(prompt, spec=spec)))


def _named(label: Label, names: tuple[str, ...]) -> str:
    return names[label] if isinstance(label, int) else " + ".join(names[index] for index in label) or "none"
