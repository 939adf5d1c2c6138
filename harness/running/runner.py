"""The loop of all engines: batches in a fixed order, one journal line per batch, a record at the end."""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.engine import Classifier, Engine, LanguageModel, Pending, TrainedLanguageModel, ZeroShot
from harness.core.errors import BenchError, BudgetReached, ModelUnavailable, OutOfMemory, RunError, RunIncomplete, UserError
from harness.core.json_files import digest
from harness.core.machine import describe_machine, library_versions, load_average, peak_memory
from harness.core.options import RunOptions
from harness.core.progress_events import OnProgress
from harness.core.record import CheckpointFacts, Cost, Cut, Machine, Metrics, PeakMemory, RunRecord, Timing, Tokens
from harness.core.shard import Shard
from harness.core.token_use import NO_TOKENS, NOTHING_CHARGED, ChargedTokens
from harness.core.types import Calibration, Example, LabelKind, Prediction, Status
from harness.data.dates import dates_of
from harness.records.entries import Entry, finished_entry
from harness.records.journal import (
    CutCounts,
    Journal,
    JournalEntry,
    done_rows,
    measured_seconds,
    open_rows,
    prediction_record,
    rounded,
)
from harness.records.outcomes import Outcomes
from harness.records.shards import shard_name
from harness.records.store import Store
from harness.running.batching import Item, batches, encode, longest_prompt, most_charged_tokens, rows_of, shortest
from harness.running.gates import Gates, cut_counts, cut_of
from harness.running.overlap import DuplicatesOf
from harness.running.plan import Plan
from harness.running.predicting import Batch, content_free, finalize_predictions, launch_batch, launched, predict_batch
from harness.running.tracking import tracked
from harness.running.training import OnEvaluation, Trained, ensure_trained
from harness.specs.backend_specs import shut_down_words
from harness.specs.costs import Budget, Price
from harness.statistics.extra_metrics import code_of
from harness.statistics.metrics import evaluate_predictions

log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True)
class Result:
    folder: Path
    record: RunRecord
    computed: bool  # False if a finished record was found

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def metrics(self) -> Metrics:
        return self.record.metrics


class EngineSlot:
    """Keeps one engine loaded while the next runs need the same one (the same model in another language)."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._engine: Engine | None = None
        self._trained: Trained | None = None
        self._load_seconds = 0.0
        self.loads = 0  # how many models it has loaded or trained

    def ready(
        self, plan: Plan, on_progress: OnProgress, on_evaluation: OnEvaluation | None = None
    ) -> tuple[Plan, Trained | None, float]:
        """The plan with a loaded engine, its training, and the seconds that loading took."""
        key = _loaded_key(plan)
        if (
            key == self._key
            and self._engine is not None
            and _has_room(loaded := replace(plan, engine=self._engine), on_progress)
        ):
            self._engine.reset()
            return loaded, self._trained, self._load_seconds
        self.close()
        self.loads += 1
        on_progress("load", 0, 0, plan.backend.name)
        started = time.perf_counter()
        self._engine = plan.engine
        try:
            if isinstance(plan.engine, Classifier | TrainedLanguageModel):
                self._trained = ensure_trained(plan, on_progress, on_evaluation)
            elif isinstance(plan.engine, ZeroShot):
                plan.engine.load(plan.task.label_space)
            elif isinstance(plan.engine, LanguageModel):
                _has_room(plan, on_progress)
                plan.engine.load()
        except OutOfMemory as error:
            self.close()
            raise RunError(
                f"{plan.backend.name}: no memory left while loading or training.", "Lower its batch size."
            ) from error
        except BaseException:
            self.close()
            raise
        self._key, self._load_seconds = key, time.perf_counter() - started
        return plan, self._trained, self._load_seconds

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._key = self._engine = self._trained = None


def _has_room(plan: Plan, on_progress: OnProgress) -> bool:
    """Tell an engine that is sized by its prompts how long they are; whether it has room for them, if it is loaded."""
    if not isinstance(plan.engine, LanguageModel) or not plan.engine.is_sized():
        return True
    extra = content_free(plan) if _is_contextual(plan) else []
    return plan.engine.make_room(longest_prompt(plan, extra, lambda done, total: on_progress("load", done, total, "lengths")))


def _loaded_key(plan: Plan) -> str:
    """Two plans with the same key can use the same loaded engine."""
    if isinstance(plan.engine, Classifier):
        loaded_for: Any = [plan.identity.trained_key, plan.engine.expected_rows()]
    elif isinstance(plan.engine, TrainedLanguageModel):
        loaded_for = plan.identity.trained_key
    elif isinstance(plan.engine, ZeroShot):
        labels = plan.task.label_space
        loaded_for = [labels.kind, labels.described()]
    else:
        loaded_for = None
    # With its options as they are: the identity lacks those that change no answer.
    return digest([plan.identity.backend.as_json(), repr(plan.engine.options), loaded_for])


def found_run(store: Store, plan: Plan, *, warn: bool = True) -> Entry | None:
    """The finished run of the plan, also by the id of an earlier version. `warn`: log a damaged record."""
    names = [plan.run_id, plan.earlier_run_id]
    return next((found for name in names if name and (found := finished_entry(store, name, warn=warn)) is not None), None)


def run(
    plan: Plan,
    store: Store,
    slot: EngineSlot | None = None,
    on_progress: OnProgress = lambda phase, done, total, note: None,
    *,
    force: bool = False,
    budget: Budget | None = None,
    on_evaluation: OnEvaluation | None = None,
    gate: bool = True,
    goes_on: bool = False,
) -> Result:
    """Execute a plan, unless its finished record exists. A killed run continues where it stopped.

    A `slot` keeps the engine for the next run; its owner closes it. `budget`: limit for a server with a price. `on_evaluation`
    receives the validation metrics during training; what it raises ends the training. Without `gate` a failed sanity gate does
    not stop the run. `goes_on`: with `force`, what the journal holds is of this command, and stays.

    Raises `RunBusy`, `ModelUnavailable`, `BudgetReached`, `GateFailed`, `RunIncomplete`, `RunError`, and `UserError` for
    mistakes that only the engine can find.
    """
    name = plan.run_id
    if not force and (found := found_run(store, plan, warn=False)) is not None:
        return Result(store.root / found.run_id, found.record, computed=False)
    if slot is None:
        with closing(EngineSlot()) as own:
            options = {"force": force, "gate": gate, "goes_on": goes_on}
            return run(plan, store, own, on_progress, budget=budget, on_evaluation=on_evaluation, **options)
    # The journal is opened first, so that only one process loads the model.
    with store.journal(name) as journal, tracked(plan) as finished, _uncollected():
        if not force:
            if (found := found_run(store, plan)) is not None:  # another process finished it meanwhile
                return Result(store.root / found.run_id, found.record, computed=False)
            store.set_aside(name)
        with closing(DuplicatesOf(plan)) as twins:
            told = twins.noted(on_progress)
            anew = force and not goes_on
            done = predict_rows(plan, journal, slot, told, force=anew, budget=budget, on_evaluation=on_evaluation, gate=gate)
            record = record_of(done, twins, circumstances(done, plan.rows))
        rows = zip(done.plan.rows, done.predictions, strict=True)
        folder = store.finish(record, (prediction_record(row, prediction) for row, prediction in rows))
        finished(record)
    return Result(folder, record, computed=True)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Meanwhile the garbage collector leaves out what is there already: visits of a million rows take seconds."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Computed:
    """What a model answered to `rows`: all rows of a plan, or those of a shard. Its `outcomes` need not be labels yet."""

    plan: Plan
    rows: Sequence[Example]
    entries: list[JournalEntry]
    trained: Trained | None
    load_seconds: float
    outcomes: Outcomes
    gates: Gates


@dataclass(frozen=True, slots=True)
class Predicted:
    """All rows of a plan, with their predictions in the task's order, and what is told of how they were made."""

    plan: Plan
    entries: list[JournalEntry]
    trained: Trained | None
    load_seconds: float
    predictions: Sequence[Prediction]
    gates: Gates


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the process that predicted knows of a run, and its rows and options do not tell."""

    finished: str
    checkpoint: CheckpointFacts | None
    timing: Timing
    cost: Cost | None
    peak_memory: PeakMemory
    machine: Machine
    versions: dict[str, str]


def predict_rows(
    plan: Plan,
    journal: Journal,
    slot: EngineSlot,
    on_progress: OnProgress,
    *,
    force: bool,
    budget: Budget | None,
    gate: bool,
    on_evaluation: OnEvaluation | None = None,
) -> Predicted:
    """Predict the rows that the journal lacks. No true label is read. Raises as `run` does."""
    return with_labels(
        compute(plan, journal, slot, on_progress, force=force, budget=budget, gate=gate, on_evaluation=on_evaluation)
    )


def compute(
    plan: Plan,
    journal: Journal,
    slot: EngineSlot,
    on_progress: OnProgress,
    *,
    force: bool,
    budget: Budget | None,
    gate: bool,
    on_evaluation: OnEvaluation | None = None,
    shard: Shard | None = None,
) -> Computed:
    """Have the model answer the rows that the journal lacks, or those of a shard."""
    if (words := shut_down_words(plan.backend)) is not None:
        log.warning(f"{words}. `bench list backends` has others, or name another model: --model NAME.")
    plan, trained, load_seconds = slot.ready(plan, on_progress, on_evaluation)
    if force:
        journal.clear()
    plan.engine.use_scratch(journal.scratch)
    gates = Gates(plan, journal.answers, stops=gate)
    gates.before()
    rows = rows_of(plan, shard)
    outcomes = Outcomes([row.id for row in rows])
    entries = _predict_all(plan, journal, outcomes, budget, on_progress, gates, shard)
    journal.flush()
    return Computed(plan, rows, entries, trained, load_seconds, outcomes, gates)


def with_labels(done: Computed) -> Predicted:
    """Turn the answers to all rows of a plan into labels. Raises `RunError` if no row has an answer."""
    done.outcomes.complete()
    predictions = _predictions(done.plan, done.entries, done.outcomes, done.trained)
    check_measured(done.plan.run_id, predictions)
    return Predicted(done.plan, done.entries, done.trained, done.load_seconds, predictions, done.gates)


def _predictions(plan: Plan, entries: list[JournalEntry], outcomes: Outcomes, trained: Trained | None) -> Sequence[Prediction]:
    """The prediction of each row with its final label, in the task's order."""
    thresholds = _fixed_thresholds(plan) if trained is None else trained.record.thresholds
    if thresholds is None and not outcomes.has_log_p:
        return outcomes
    reference = next((np.array(entry.content_free) for entry in entries if entry.content_free is not None), None)
    # Rounded as in the record, so that the metrics are exactly those of the record.
    return list(map(rounded, finalize_predictions(plan, outcomes, reference, thresholds)))


def _fixed_thresholds(plan: Plan) -> list[float] | None:
    """Of a zero-shot classifier on a multilabel task."""
    if not isinstance(plan.engine, ZeroShot) or plan.task.labels.kind is not LabelKind.MULTILABEL:
        return None
    return [plan.engine.threshold()] * len(plan.task.label_space)


def _predict_all(
    plan: Plan,
    journal: Journal,
    outcomes: Outcomes,
    budget: Budget | None,
    on_progress: OnProgress,
    gates: Gates,
    shard: Shard | None,
) -> list[JournalEntry]:
    """The journal's entries, once all rows are done, or those of the shard; `outcomes` takes their predictions."""
    total, name = len(outcomes), plan.run_id if shard is None else shard_name(plan.run_id, shard)
    on_progress("replay", 0, total, "")
    entries = [outcomes.take(entry) for entry in journal.entries()]
    for entry in entries:
        gates.see(entry)
    done = done_rows(entries)
    unparsed = sum(row.status is not Status.OK and row.id in done for entry in entries for row in entry.rows)
    if len(done) < total:
        on_progress("warm up", 0, 0, "")
        _warm_up(plan)
    # One shard asks for all: the scores are needed when all rows are there.
    asks = _is_contextual(plan) and (shard is None or shard.index == 1)
    if asks and all(entry.content_free is None for entry in entries):
        entries.append(_content_free(plan, journal, budget))
    on_progress("predict", len(done), total, _so_far(unparsed, budget))
    left = batches(plan, done, shard) if len(done) < total else ()
    for items, outcome, seconds in _computed(plan, left, budget):
        entry = _entry(outcome, seconds, batch=len(items), cut=cut_counts(items))
        if plan.has_truth:  # the tokens of a row are told by a labelling alone
            entry = replace(entry, row_tokens={})
        entry = journal.append(entry, outcome.answers)
        entries.append(outcomes.take(entry))
        done.update({prediction.id for prediction in outcome.predictions}.difference(outcome.ask_again))
        unparsed += sum(prediction.status is not Status.OK for prediction in outcome.predictions)
        on_progress("predict", len(done), total, _so_far(unparsed, budget))
        if (down := plan.engine.unavailable()) is not None:
            check_finished(name, entries, total, down)
        gates.see(entry)
    check_finished(name, entries, total, None)
    return entries


def _so_far(unparsed: int, budget: Budget | None) -> str:
    """Rows without an answer, and the cost so far."""
    return ", ".join(
        ([f"{unparsed:,} without an answer"] if unparsed else []) + ([] if budget is None else [f"${budget.spent:.4f}"])
    )


def _content_free(plan: Plan, journal: Journal, budget: Budget | None) -> JournalEntry:
    """The entry of the content-free inputs."""
    parts = [(outcome, seconds) for _, outcome, seconds in _computed(plan, [content_free(plan)], budget)]
    predictions = [prediction for outcome, _ in parts for prediction in outcome.predictions]
    charged = sum((outcome.charged for outcome, _ in parts), NOTHING_CHARGED)
    entry = _entry(Batch([], [], charged), sum(seconds for _, seconds in parts), batch=0)
    failed = next((prediction.reason for prediction in predictions if prediction.log_p is None), None)
    if failed is None:
        return journal.append(replace(entry, content_free=[prediction.log_p for prediction in predictions]))
    journal.append(entry)  # its tokens cost money
    problem = f"A content-free input could not be scored: {failed}."
    if any(outcome.ask_again for outcome, _ in parts):
        raise RunIncomplete(problem, AGAIN)
    raise RunError(problem, "Use another calibration.")


def _warm_up(plan: Plan) -> None:
    """The shortest text, not timed. A server needs no warm-up and would charge for it."""
    if plan.engine.model_is == "name":
        return
    predict_batch(plan, encode(plan, [shortest(plan.rows)]))


def _is_contextual(plan: Plan) -> bool:
    return plan.prompt is not None and plan.prompt.prompt.spec.calibration is Calibration.CONTEXTUAL


class _Clock:
    """Seconds that count."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._since = self._since, time.perf_counter()
        return self._since - before

    def skip(self) -> None:
        """What passed since the last lap does not count."""
        self._since = time.perf_counter()


def _computed(plan: Plan, batches: Iterable[list[Item]], budget: Budget | None) -> Iterator[tuple[list[Item], Batch, float]]:
    """What comes of the batches, in their order, and the seconds that it took: also of the waiting for their prompts. What is
    done with a result counts where further batches are computed meanwhile. With a budget each batch is paid before the next is
    sent."""
    ahead, price = plan.engine.ahead(), plan.backend.price
    paid = None if budget is None or price is None else _Paid(plan, price, budget)
    if paid is not None:
        ahead, batches = 0, paid.affordable(batches)
    clock = _Clock()
    for items, pending in launched(plan, batches, ahead):
        for part, outcome in _in_memory(plan, items, pending, clock):
            if paid is not None:
                paid.settle(outcome)
            yield part, outcome, clock.lap()
            if not ahead:
                clock.skip()


class _Paid:
    """Batches that are paid from a budget, one after the other."""

    def __init__(self, plan: Plan, price: Price, budget: Budget) -> None:
        self._plan, self._price, self._budget = plan, price, budget
        self._reserved = 0.0  # for the batch that was sent last

    def affordable(self, batches: Iterable[list[Item]]) -> Iterator[list[Item]]:
        """The batches in parts that can't exceed the rest of the budget."""
        plan, budget = self._plan, self._budget
        for batch in batches:
            items = batch
            while items:
                parts = [_most_usd(plan, self._price, item, position) for position, item in enumerate(items)]
                count = budget.reserve(parts)
                self._reserved = sum(parts[:count])
                if count == 0 and budget.left == budget.limit:
                    problem = f"--max-cost {budget.limit:g}: the first request may cost ${parts[0]:.4f}."
                    raise UserError(problem, "Raise --max-cost.")
                if count == 0:
                    raise BudgetReached(
                        f"{plan.run_id}: stopped at ${budget.spent:.4f} of ${budget.limit:.4f}; the next request could exceed "
                        "it.",
                        "Finished rows are kept. Repeat the command to continue; it may spend --max-cost again.",
                    )
                yield items[:count]
                items = items[count:]

    def settle(self, outcome: Batch) -> None:
        """Of the batch, or of a part of it."""
        self._budget.settle(self._reserved, self._price.charged(outcome.charged))
        self._reserved = 0.0


def _most_usd(plan: Plan, price: Price, item: Item, position: int) -> float:
    """Upper bound of what a server charges for the item, which is the one at `position` of its batch."""
    engine = plan.engine
    once, batch_api = price.most(item.encoded.tokens, most_charged_tokens(plan)), engine.batch_api()
    if batch_api is None:
        return engine.attempts() * once
    # Those that are sent directly are the shortest; counted are the longest.
    return price.batch_share * once + (engine.attempts() * once if position < batch_api.direct else 0)


def _in_memory(plan: Plan, items: list[Item], pending: Pending[Batch], clock: _Clock) -> Iterator[tuple[list[Item], Batch]]:
    """The batch, repeatedly halved if it does not fit in device memory."""
    try:
        outcome = pending()
    except OutOfMemory as error:
        if len(items) == 1:
            row = items[0].rows[0].id
            raise RunError(f"No memory for a single row ({row}) of {plan.run_id}.", "Use a smaller model.") from error
        half = len(items) // 2
    else:
        yield items, outcome
        return
    clock.skip()
    for part in (items[:half], items[half:]):
        yield from _in_memory(plan, part, launch_batch(plan, part), clock)


def _entry(outcome: Batch, seconds: float, *, batch: int, cut: CutCounts | None = None) -> JournalEntry:
    total = outcome.charged.total
    return JournalEntry(
        seconds=seconds,
        prompt_tokens=total.prompt,
        new_tokens=total.new,
        cached_tokens=total.cached,
        cache_written_tokens=total.cache_written,
        batched=outcome.charged.batched,
        batch=batch,
        rows=outcome.predictions,
        ask_again=outcome.ask_again,
        sent_instead=outcome.sent_instead,
        cut=cut,
        row_tokens=outcome.row_tokens,
    )


def record_of(done: Predicted, twins: DuplicatesOf, known: Circumstances) -> RunRecord:
    """The record of a run, whose rows all have their labels."""
    plan, trained = done.plan, done.trained
    labelled = None if plan.training is None else plan.training.labelled
    optional: dict[str, Any] = {} if labelled is None else {"labelled": labelled.facts}
    cut = cut_texts(done)
    return RunRecord(
        n=len(plan.rows),
        metrics=evaluate_predictions(
            plan.rows,
            done.predictions,
            plan.task.label_space,
            threshold=plan.task.threshold,
            extra_metrics=plan.task.metrics,
            rank_by=plan.task.rank_by,
        ),
        rows_from=plan.rows_from,
        training=None if trained is None else trained.record,
        runtime=None if trained is None else trained.runtime,
        metric_code=code_of(plan.task.metrics),
        overlap=twins.overlap(),
        dates=dates_of(plan.task.published, plan.backend.training_cutoff),
        peak_memory_mib=known.peak_memory,
        cut=cut,
        **told(done, cut, known),
        **optional,
    )


def cut_texts(done: Predicted) -> Cut | None:
    """Prompts are never cut."""
    return None if done.plan.prompt is not None else cut_of(entry.cut for entry in done.entries if entry.cut is not None)


def circumstances(done: Computed | Predicted, rows: Sequence[Example]) -> Circumstances:
    """Of the predictions of these rows, which this process has just finished."""
    plan, entries = done.plan, done.entries
    return Circumstances(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        checkpoint=_checkpoint(plan),
        timing=_timing(plan, entries, done.load_seconds, rows),
        cost=cost_of(entries, plan.backend.price),
        peak_memory=peak_memory(),
        machine=describe_machine(),
        versions=library_versions(),
    )


def cost_of(entries: Iterable[JournalEntry], price: Price | None) -> Cost | None:
    if price is None:
        return None
    return Cost(usd=round(price.charged(charged_for(entries)), 6), **price.model_dump(exclude_none=True))


def charged_for(entries: Iterable[JournalEntry]) -> ChargedTokens:
    return sum((entry.charged for entry in entries), NOTHING_CHARGED)


def told(done: Predicted, cut: Cut | None, known: Circumstances) -> dict[str, Any]:
    """The fields that the records of runs and of labellings share."""
    plan, entries = done.plan, done.entries
    replaced: dict[str, str | None] = {}
    for entry in entries:
        replaced |= entry.sent_instead
    return {
        "run_id": plan.run_id,
        "identity": plan.identity,
        "options": public_options(plan),
        "finished": known.finished,
        "checkpoint": known.checkpoint,
        "timing": known.timing,
        "sent_instead": replaced or None,
        "tokens": Tokens.of(charged_for(entries)),
        "cost": known.cost,
        "machine": known.machine,
        "versions": known.versions,
        "gates": done.gates.finished(done.predictions, cut, None if done.trained is None else done.trained.record),
    }


def _checkpoint(plan: Plan) -> CheckpointFacts | None:
    if plan.checkpoint is None:
        return None
    found = plan.checkpoint
    return CheckpointFacts(parameters=plan.engine.parameters, stored=found.weights, base=found.base)


def public_options(plan: Plan) -> RunOptions:
    """As a record holds them: of the settings those that are part of the identity; strings as there, where an address holds no
    secret."""
    options = plan.identity.backend.options
    return plan.options.public(
        {
            key: options.get(key, value) if isinstance(value, str) else value
            for key, value in plan.options.settings.items()
            if key.split(".")[0] in options
        }
    )


def speed_of(entries: Sequence[JournalEntry], rows: int) -> dict[str, Any]:
    """The seconds that `rows` rows took, and the rows per second; neither where a Batch API was asked, whose time is that of a
    queue."""
    seconds = measured_seconds(entries)
    if any(entry.batched != NO_TOKENS for entry in entries):
        return {"seconds": None, "rows_per_second": None}
    return {"seconds": round(seconds, 6), "rows_per_second": round(rows / seconds, 3) if seconds else None}


def smallest_batch(entries: Sequence[JournalEntry]) -> int:
    return min((entry.batch for entry in entries if entry.rows), default=0)


def _timing(plan: Plan, entries: Sequence[JournalEntry], load_seconds: float, rows: Sequence[Example]) -> Timing:
    speed = speed_of(entries, len(rows))
    settings = dict(plan.engine.speed_settings())
    optional: dict[str, Any] = {"settings": settings} if settings else {}
    left_out = "training and warm-up" if plan.engine.ahead() else "training, warm-up and journal"
    return Timing(
        **speed,
        counts="not measured: a Batch API answers when it has room"
        if speed["seconds"] is None
        else "rendering, tokenization (while it is waited for), the model and parsing; not loading, "
        f"{left_out}; a text of several rows is computed once",
        load_seconds=round(load_seconds, 6),
        distinct_texts=len({row.text for row in rows}),
        batch_size=plan.engine.batch_size(),
        batch_tokens=plan.engine.batch_tokens(),
        smallest_batch=smallest_batch(entries),
        sorted_by_length=True,
        load_average=load_average(),
        **optional,
    )


AGAIN = "Repeat the command (without --force): it retries only these rows."


def check_finished(run_id: str, entries: Sequence[JournalEntry], total: int, down: BenchError | None) -> None:
    """Raise if rows failed for a temporary reason. `down`: why no more rows are sent, if the server is down."""
    if down is not None and not isinstance(down, ModelUnavailable):
        raise down
    lost = open_rows(entries)
    if not lost and down is None:
        return
    missing = total - len(done_rows(entries))
    reasons = Counter(reason or "no reason" for reason in lost.values())
    if missing > len(lost):
        reasons["not_sent"] += missing - len(lost)  # of later batches
    problem = f"{run_id}: {missing:,} of {total:,} rows have no answer ({_counted(reasons)}); the run is not finished."
    raise RunIncomplete(problem if down is None else f"{problem} {down.message}", AGAIN, down)


def check_measured(run_id: str, predictions: Sequence[Prediction]) -> None:
    """Raise `RunError` if no row has an answer, not even an unparsed one: there is nothing to score."""
    if any(prediction.status is not Status.FAILED for prediction in predictions):
        return
    reasons = Counter(prediction.reason or "no reason" for prediction in predictions)
    raise RunError(
        f"{run_id}: none of its {len(predictions):,} rows has an answer ({_counted(reasons)}), so there is no result.",
        "Change the model, the prompt or an option. --force repeats the same requests.",
    )


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in reasons.most_common())
