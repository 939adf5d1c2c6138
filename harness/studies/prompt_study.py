"""The trials of a prompt search, stored in a journal, so that a stopped search continues.

    results/studies/<name>/study.journal  Optuna's study: settings, values, states
    results/studies/<name>/runs/        a run record per trial, stage and language
    results/studies/<name>/prompts/     the prompt file of each trial
    results/studies/<name>/proposals/   the instructions that a language model wrote

Every trial is an ordinary run on validation rows. The answers of the proposer stay in the user's cache, as they may quote rows.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.engine import Generation, LanguageModel
from harness.core.errors import BudgetReached, DataError, ModelUnavailable, PromptError, RunBusy, RunError, RunIncomplete
from harness.core.json_files import canonical_json, digest
from harness.core.progress_events import OnProgress
from harness.core.types import Label, LabelKind
from harness.records.predictions import read_predictions, shared_rows
from harness.records.store import Store
from harness.running.plan import Plan, make_plan
from harness.running.runner import EngineSlot, run
from harness.specs.catalog import Catalog
from harness.specs.costs import Budget
from harness.specs.prompts import load_prompt
from harness.statistics.contrast import comparable
from harness.statistics.over_languages import mean_difference_over
from harness.studies.prompt_files import Candidate, Output, PromptFolder, Template, read_template, write_files
from harness.studies.prompt_proposals import (
    Brief,
    Mistake,
    ProposalRejected,
    Tried,
    chat_of,
    check_proposal,
    instruction_in,
    instruction_of,
    pick_mistakes,
    proposed,
)
from harness.studies.prompt_search import PromptSearch
from harness.studies.study import optuna_study

if TYPE_CHECKING:
    import optuna

REPEATS = 5
"""Draws of settings that were tried, after which one that was not is taken."""
ROUNDING = 1e-9
"""Values that differ by less are equal."""
KEPT = (ModelUnavailable, RunBusy, BudgetReached, RunIncomplete)
"""They end the search, and the next one continues the trial; other errors of a run make a failed trial."""


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """`state`: complete, stopped (clearly worse than the best), failed, or interrupted (it is run again). `value`: on `rows`
    validation rows per language. `tokens`: of its prompts. `stages`: rows per language -> runs, one per language."""

    number: int
    state: str
    candidate: Candidate
    value: float | None = None
    rows: int | None = None
    tokens: int = 0
    stages: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    error: str | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """Of its last stage."""
        return self.stages[max(self.stages)] if self.stages else ()

    @property
    def is_finished(self) -> bool:
        return self.state in ("complete", "stopped", "failed")


@dataclass(frozen=True, slots=True)
class Change:
    """The best prompt's value minus the original's, on the same rows, with its 95% interval (NaN where it has none)."""

    value: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass
class PromptStudy:
    """An open study, locked for others. Made by `open_prompt_study`, which closes its engines."""

    folder: Path
    search: PromptSearch
    catalog: Catalog = field(repr=False)
    optuna_study: optuna.Study = field(repr=False)
    budget: Budget | None = None
    slot: EngineSlot = field(default_factory=EngineSlot, repr=False)
    proposer_slot: EngineSlot = field(default_factory=EngineSlot, repr=False)
    _made: dict[str, Template] = field(default_factory=dict, repr=False)  # what a proposer wrote

    @property
    def store(self) -> Store:
        return Store(self.folder / "runs")

    # Trials

    def trials(self) -> list[SearchTrial]:
        return [self._trial(number, found) for number, found in enumerate(self._shown())]

    def _shown(self) -> list[optuna.trial.FrozenTrial]:
        """Without those that wait, and without repeated draws, which were never run."""
        return [t for t in self.optuna_study.trials if t.state.name != "WAITING" and "repeats" not in t.user_attrs]

    def finished(self) -> int:
        return sum(trial.is_finished for trial in self.trials())

    def best(self) -> SearchTrial | None:
        """By value; of equal ones the original, then the one with the shortest prompts, then the first."""
        sign, original = 1 if self.search.lower_is_better else -1, self.search.original
        done = [trial for trial in self.trials() if trial.state == "complete" and trial.value is not None]
        keys = {
            trial.number: (
                round(sign * (trial.value or 0.0) / ROUNDING),
                trial.candidate != original,
                trial.tokens,
                trial.number,
            )
            for trial in done
        }
        return min(done, key=lambda trial: keys[trial.number]) if done else None

    def original(self) -> SearchTrial | None:
        """The trial of the first prompt as it is; None if it did not complete."""
        wanted = self.search.original
        return next((trial for trial in self.trials() if trial.candidate == wanted and trial.state == "complete"), None)

    def change(self) -> Change | None:
        """None unless both the best and the original are complete."""
        best, original = self.best(), self.original()
        if best is None or original is None:
            return None
        if best.number == original.number:
            return Change(0.0, 0.0, 0.0)
        assert best.value is not None
        assert original.value is not None
        found = self._paired(original.runs, best.runs)
        return found or Change(best.value - original.value, math.nan, math.nan)

    def twins(self, trial: SearchTrial) -> int:
        """Validation rows with a duplicate among the few-shot examples of the trial."""
        overlaps = [self.store.record(name).overlap for name in trial.runs]
        return sum(overlap.exact + (overlap.near or 0) for overlap in overlaps if overlap is not None)

    def _trial(self, number: int, found: optuna.trial.FrozenTrial) -> SearchTrial:
        kept = found.user_attrs
        state = {"COMPLETE": "complete", "PRUNED": "stopped"}.get(found.state.name)
        state = state or ("failed" if "error" in kept else "interrupted")
        candidate = self._candidate(found.params)
        if state not in ("complete", "stopped"):
            return SearchTrial(number, state, candidate, error=kept.get("error"))
        stages = {int(rows): tuple(runs) for rows, runs in kept["runs"].items()}
        rows = max(stages)
        return SearchTrial(number, state, candidate, found.intermediate_values[rows], rows, kept["tokens"], stages)

    def _candidate(self, settings: dict[str, Any]) -> Candidate:
        template = self._templates().get(settings["template"]) or self.search.templates[0]  # of a proposal to be made
        return self.search.candidate_of(settings, template.base.spec)

    def _templates(self) -> dict[str, Template]:
        """By name; of the proposals those that were made."""
        for slot in self.search.space.slots():
            if slot not in self._made and self._proposal(slot).is_file():
                self._made[slot] = read_template(self._proposal(slot))
        return {**{template.name: template for template in self.search.templates}, **self._made}

    def _proposal(self, slot: str) -> Path:
        return self.folder / "proposals" / f"{slot}.j2"

    # One trial

    def next_trial(self, on_start: Callable[[int, Candidate], None], on_progress: OnProgress) -> SearchTrial | None:
        """Run one trial; None if all settings were tried. A `RunError`, or a prompt that can't be rendered, makes it a failed
        one; other errors end the search, and the next search continues the trial."""
        from optuna.exceptions import TrialPruned
        from optuna.trial import TrialState

        asked = self._ask()
        if asked is None:
            return None
        number = len(self._shown()) - 1
        on_start(number, self._candidate(asked.params))
        try:
            value = self._worth(asked, on_progress)
        except TrialPruned:
            self.optuna_study.tell(asked, state=TrialState.PRUNED)
        except KEPT:
            raise
        except (RunError, PromptError, DataError) as error:
            asked.set_user_attr("error", error.message)
            self.optuna_study.tell(asked, state=TrialState.FAIL)
        else:
            self.optuna_study.tell(asked, value)
        return self.trials()[number]

    def _ask(self) -> optuna.Trial | None:
        """Interrupted trials first, then the user's prompts as they are, then one of each proposal, then Optuna's choice."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        space = self.search.distributions()
        waiting = self.optuna_study.get_trials(states=(TrialState.WAITING,))
        if waiting:
            return self.optuna_study.ask(space)
        tried = {trial.candidate for trial in self.trials() if trial.is_finished}
        planned = self._planned(tried)
        for repeat in range(REPEATS if planned is None else 0):
            # A sampler for each draw: a resumed search would otherwise repeat its first ones.
            seed = int(digest([self.search.request.seed, self.finished(), repeat])[:8], 16)
            self.optuna_study.sampler = TPESampler(seed=seed)
            asked = self.optuna_study.ask(space)
            if self._candidate(asked.params) not in tried:
                return asked
            asked.set_user_attr("repeats", True)
            self.optuna_study.tell(asked, state=TrialState.FAIL)
        planned = planned or self._untried(tried)
        if planned is None:
            return None
        self.optuna_study.enqueue_trial(planned)
        return self.optuna_study.ask(space)

    def _planned(self, tried: set[Candidate]) -> dict[str, Any] | None:
        for template in self.search.templates:
            own = self.search.own_candidate(template)
            if own not in tried:
                return self.search.settings_of(own)
        best = self.best()
        for slot in self.search.space.slots():
            if all(candidate.template != slot for candidate in tried):
                like = self.search.original if best is None else best.candidate
                return self.search.settings_of(replace(like, template=slot))
        return None

    def _untried(self, tried: set[Candidate]) -> dict[str, Any] | None:
        """One of the settings that were not tried, fixed by the seed."""
        left = [settings for settings in self.search.combinations() if self._candidate(settings) not in tried]
        return min(left, key=lambda settings: digest([self.search.request.seed, settings]), default=None)

    def _worth(self, asked: optuna.Trial, on_progress: OnProgress) -> float:
        """The metric on all validation rows of the search, the mean over languages. Raises `TrialPruned` after a stage."""
        from optuna.exceptions import TrialPruned

        slot = asked.params["template"]
        if slot in self.search.space.slots() and not self._proposal(slot).is_file():
            self._propose(slot, on_progress)
        candidate = self._candidate(asked.params)
        template = self._templates()[candidate.template]
        write_files(self.folder / "prompts", template.files(candidate.name, candidate.fixed))
        value, ran = math.nan, {}
        for rows in self.search.stages:
            runs, values, tokens = self._stage(candidate, rows, on_progress)
            value, ran[str(rows)] = sum(values) / len(values), runs
            asked.report(value, rows)
            asked.set_user_attr("runs", ran)
            asked.set_user_attr("tokens", tokens)
            if rows < self.search.stages[-1] and self._is_clearly_worse(candidate, runs, rows):
                raise TrialPruned
        return value

    def _stage(self, candidate: Candidate, rows: int, on_progress: OnProgress) -> tuple[list[str], list[float], int]:
        """Runs, values and prompt tokens, one run per language. Raises `RunError`."""
        prompts = self._prompts()
        runs, values, tokens = [], [], 0
        for lang in self.search.langs:
            plan = make_plan(self.search.options_of(candidate, lang, rows), prompts)
            try:
                record = run(plan, self.store, self.slot, on_progress, budget=self.budget).record
            except KEPT:
                raise
            except RunError:
                shutil.rmtree(self.store.root / f"{plan.run_id}.partial", ignore_errors=True)
                raise
            value = record.metrics.values[self.search.metric].value
            if value is None:
                raise RunError(f"{self.search.metric} is undefined for this trial.", "Choose another metric.")
            runs.append(record.run_id)
            values.append(value)
            tokens += record.tokens.prompt or 0
        return runs, values, tokens

    def _prompts(self) -> PromptFolder:
        return PromptFolder(self.catalog.project, self.catalog.trust_metric_code, self.folder / "prompts")

    def _is_clearly_worse(self, candidate: Candidate, runs: Sequence[str], rows: int) -> bool:
        """Whether the interval of the difference from the best so far, on the same rows, excludes 0. Never the original."""
        best = self.best()
        if best is None or candidate == self.search.original:
            return False
        change = self._paired(best.stages[rows], runs)
        return change is not None and (change.low > 0 if self.search.lower_is_better else change.high < 0)

    def _paired(self, before: Sequence[str], after: Sequence[str]) -> Change | None:
        """Of two lists of runs, one per language; None for a metric that pairs can't be tested in."""
        pairs = []
        for one, other in zip(before, after, strict=True):
            pair = shared_rows([read_predictions(self.store, one), read_predictions(self.store, other)])
            if not all(self.search.metric in comparable(found) for found in pair):
                return None
            pairs.append(pair)
        return Change(*mean_difference_over(pairs, self.search.metric))

    # Proposals

    def _propose(self, slot: str, on_progress: OnProgress) -> None:
        """Have the proposer write an instruction. Raises `ProposalRejected`, and `BudgetReached` before its request."""
        brief = self._brief(slot)
        answer = self._answer(brief, on_progress)
        unchecked = self.folder / "proposals" / "unchecked" / f"{slot}.j2"
        reason = None
        try:
            source = f"{self.search.proposer}, from {brief.parent.name}"
            text = proposed(
                brief, instruction_in(answer.text, complete=answer.complete), f"An instruction proposed by {source}."
            )
            write_files(unchecked.parent, {unchecked.name: text})
            labels, known = self.search.plan.task.label_space, self._templates().values()
            check_proposal(load_prompt(unchecked), labels, self.search.rows, known)
        except ProposalRejected as error:
            reason = error.message
            raise ProposalRejected(f"The proposal was refused: {reason}") from error
        finally:
            self._keep_answer(slot, answer.text, reason)
        unchecked.replace(self._proposal(slot))

    def _brief(self, slot: str) -> Brief:
        templates, best = self._templates(), self.best()
        parent = templates[best.candidate.template] if best else self.search.templates[0]
        values: dict[str, float] = {}
        sign = -1 if self.search.lower_is_better else 1
        for trial in self.trials():
            name, value = trial.candidate.template, trial.value
            if trial.state == "complete" and value is not None:
                values[name] = max(values.get(name, value), value, key=lambda worth: sign * worth)
        ordered = sorted(values, key=lambda name: (-sign * values[name], name != parent.name))
        assert self.search.plan.prompt is not None
        task, parser = self.search.plan.task, self.search.plan.prompt.parser
        many = task.labels.kind is LabelKind.MULTILABEL
        answers = [parser.answer((index,) if many else index) for index in range(len(task.label_space))]
        errors = [
            trial.error for trial in self.trials() if trial.candidate.template in self.search.space.slots() and trial.error
        ]
        return Brief(
            task=task.description,
            labels=task.label_space,
            answers=answers,
            languages=self.search.langs,
            metric=self.search.metric,
            lower_is_better=self.search.lower_is_better,
            parent=parent,
            tried=[Tried(instruction_of(templates[name]), values[name]) for name in ordered],
            mistakes=pick_mistakes(self._mistakes(best), self.search.request.seed, slot) if best else [],
            rejected=list(dict.fromkeys(errors)),
        )

    def _mistakes(self, best: SearchTrial) -> list[Mistake]:
        found = []
        for lang, name in zip(self.search.langs, best.runs, strict=True):
            plan = make_plan(self.search.options_of(best.candidate, lang, self.search.stages[-1]), self._prompts())
            assert plan.prompt is not None
            texts = {row.id: row.text for row in plan.rows}
            for row in self.store.predictions(name):
                truth, label = _label(row["truth"]), _label(row.get("label"))
                if truth != label and truth is not None:
                    answer = plan.prompt.parser.answer
                    found.append(Mistake(texts[row["id"]], answer(truth), None if label is None else answer(label)))
        return found

    def _answer(self, brief: Brief, on_progress: OnProgress) -> Generation:
        """Raises `ProposalRejected` where the proposer has none, and `RunIncomplete` where it may have one later."""
        assert self.search.proposer_request is not None
        plan = make_plan(self.search.proposer_request, self.catalog)
        plan, _, _ = self._slot_of(plan).ready(plan, on_progress)
        assert isinstance(plan.engine, LanguageModel)
        on_progress("propose", 0, 0, "")
        encoded = plan.engine.encode([chat_of(brief)], None)
        reserved = self._reserve(plan, plan.engine, encoded[0].tokens)
        scratch = self.folder / "proposals" / "scratch"
        plan.engine.use_scratch(scratch)
        (given,) = plan.engine.generate(encoded, self.search.space.proposal_tokens, None)
        if self.budget is not None and plan.backend.price is not None:
            self.budget.settle(reserved, plan.backend.price.charged(given.charged))
        if not given.retryable:
            shutil.rmtree(scratch, ignore_errors=True)
        if given.error is not None and given.retryable:
            raise RunIncomplete(f"{self.search.proposer} gave no answer ({given.error}).", "Repeat the command to try again.")
        if given.error is not None:
            raise ProposalRejected(f"{self.search.proposer} gave no answer ({given.error}).")
        return given

    def _slot_of(self, plan: Plan) -> EngineSlot:
        """Two local models are never in memory together; a server needs none."""
        served = any(one.engine.model_is == "name" for one in (plan, self.search.plan))
        same = plan.identity.backend == self.search.plan.identity.backend
        return self.proposer_slot if served and not same else self.slot

    def _reserve(self, plan: Plan, engine: LanguageModel, tokens: int) -> float:
        """The most that the proposal may cost, reserved. Raises `BudgetReached`."""
        if self.budget is None or plan.backend.price is None:
            return 0.0
        new_tokens = self.search.space.proposal_tokens + engine.reasoning_room()
        requests = engine.attempts() + (0 if engine.batch_api() is None else 1)
        most = requests * plan.backend.price.most(tokens, new_tokens)
        if not self.budget.reserve([most]):
            raise BudgetReached(
                f"A proposal by {self.search.proposer} may cost ${most:.4f}, and ${self.budget.left:.4f} of "
                f"${self.budget.limit:.4f} is left.",
                "Finished trials are kept. Repeat the command to continue; it may spend --max-cost again.",
            )
        return most

    def _keep_answer(self, slot: str, answer: str, reason: str | None) -> None:
        path = self.store.answers_file(f"{self.folder.name}.{self.search.digest}.proposals")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(canonical_json({"slot": slot, "answer": answer, "refused": reason}) + "\n")

    # The winner

    def winner_files(self, output: Output) -> dict[str, str]:
        """File name -> text of the best trial's prompt. Its description says how it was found."""
        best, original = self.best(), self.original()
        assert best is not None
        before = "" if original is None else f", the original ({self.search.templates[0].name}) {original.value:.4f}"
        description = (
            f"Found by bench prompts optimize: {self.search.request.backend} on {self.search.request.task} "
            f"({'+'.join(self.search.langs)}), the best of {self.finished()} trials on {len(self.search.rows)} validation rows "
            f"({best.candidate}): {self.search.metric} {best.value:.4f}{before}."
        )
        note = (
            f"# Study {self.folder.name} ({self.search.digest}). The score is too high, as that of the best of many trials:\n"
            "# measure the prompt on test rows.\n"
        )
        template = self._templates()[best.candidate.template]
        return template.files(output.name, {**best.candidate.fixed, "description": description}, note)


def _label(value: Any) -> Label | None:
    """From a line of predictions.jsonl."""
    return tuple(value) if isinstance(value, list) else value


@contextmanager
def open_prompt_study(
    search: PromptSearch, folder: Path, catalog: Catalog, budget: Budget | None = None
) -> Iterator[PromptStudy]:
    """The study in `folder`, new if there is none; interrupted trials come first in the queue.

    Raises `RunBusy` if another process is searching there, `UserError` if that study is of another search.
    """
    identity = json.loads(json.dumps(search.identity))
    with optuna_study(folder, identity, lower_is_better=search.lower_is_better) as found:
        study = PromptStudy(folder, search, catalog, found, budget)
        try:
            yield study
        finally:
            study.slot.close()
            study.proposer_slot.close()
