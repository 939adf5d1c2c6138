"""A worker, and the executor in this process: outcomes, errors, the loaded model, and what is told meanwhile."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BudgetReached, ModelUnavailable, RunError, RunIncomplete, UnknownName
from harness.core.options import RunOptions
from harness.core.shard import Shard
from harness.execution import worker as worker_module
from harness.execution.events import Event, Sender
from harness.execution.executors.local import LocalExecutor
from harness.execution.jobs import Request, group_of, in_shards, need_of, requests_of, run_jobs
from harness.execution.outcome import Outcome, is_seen
from harness.execution.worker import Setup
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.executors import NeedSpec


def options(backend: str = "toy-model", **values: Any) -> RunOptions:
    return RunOptions(**{"backend": backend, "task": "toy", "lang": "en", **values})


def carried_out(
    project: Path, store: Store, requests: Sequence[Request], **setup: Any
) -> tuple[list[tuple[int, Outcome]], list[Event]]:
    known, told = Catalog(project), []
    executor = LocalExecutor(Setup(known, store, **setup))
    return list(executor.carry_out(run_jobs(requests, known, {}), told.append)), told


def states(outcomes: Sequence[tuple[int, Outcome]]) -> list[tuple[int, str]]:
    return [(job, outcome.state) for job, outcome in outcomes]


def test_a_model_is_loaded_once_for_all_of_its_runs(project: Path, store: Store) -> None:
    asked = [options(lang=lang, prompt=prompt) for prompt in ("echo", "shown") for lang in ("en", "de")]
    outcomes, _ = carried_out(project, store, requests_of(asked))
    assert states(outcomes) == [(job, "new") for job in range(4)]
    assert [outcome.loads for _, outcome in outcomes] == [1, 0, 0, 0]
    assert sorted(outcome.run_id for _, outcome in outcomes) == store.ids()


def test_a_recorded_run_is_found_and_repeated_with_force(project: Path, store: Store) -> None:
    asked = requests_of([options()])
    carried_out(project, store, asked)
    found, told = carried_out(project, store, asked)
    assert [(outcome.state, outcome.loads) for _, outcome in found] == [("found", 0)]
    assert [event.kind for event in told] == ["start", "say"]
    assert states(carried_out(project, store, asked, force=True)[0]) == [(0, "new")]


def test_a_job_starts_from_the_model_that_the_worker_trained(project: Path, store: Store) -> None:
    """The key comes from the worker: a driver without its device would compute another one."""
    base = Request("base", options("toy-classifier", train_lang=("de",)))
    later = Request("later", options("toy-classifier", train_lang=("en",)), after=0)
    known = Catalog(project)
    jobs = run_jobs([base, later], known, {})
    outcomes = dict(LocalExecutor(Setup(known, store)).carry_out(jobs, lambda event: None))
    key = outcomes[0].trained_key
    assert key is not None
    started = jobs[1].started_from(Outcome("new", trained_key="other"))
    assert started.options.continue_from == "other"
    assert started.group != jobs[1].group
    assert outcomes[1].error is not None  # the toy engine starts from no model, and is asked to
    assert "can't go on from an earlier training" in outcomes[1].error.message


def test_what_waits_for_a_failed_run_is_not_possible(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        Request("a", options(seed=1)),
        Request("b", options(seed=2), after=0),
        Request("c", options(seed=3), after=1),
        Request("d", options(seed=4)),
    ]
    monkeypatch.setattr(worker_module.Worker, "_run", _failing_for(1, RunError("it broke")))
    outcomes, _ = carried_out(project, store, asked)
    assert states(outcomes) == [(0, "failed"), (1, "failed"), (2, "failed"), (3, "new")]
    assert [outcome.error and outcome.error.message for _, outcome in outcomes[:3]] == [
        "it broke",
        "b is not possible: it continues from a, which failed.",
        "c is not possible: it continues from b, which failed.",
    ]


@pytest.mark.parametrize(
    "error", [BudgetReached("no money", ""), OSError(28, "No space left on device")], ids=lambda error: type(error).__name__
)
def test_what_every_later_run_would_meet_ends_all(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(worker_module.Worker, "_run", _failing_for(1, error))
    outcomes, _ = carried_out(project, store, requests_of([options(seed=seed) for seed in (0, 1, 2)]))
    assert states(outcomes) == [(0, "new"), (1, "failed")]


@pytest.mark.parametrize(
    "error",
    [ModelUnavailable("no hub", ""), RunIncomplete("3 rows", "again", ModelUnavailable("down", ""))],
    ids=lambda error: type(error).__name__,
)
def test_a_model_that_is_not_there_is_asked_for_once(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    calls: list[int] = []

    def run(worker: worker_module.Worker, asked: RunOptions, shard: Any) -> Outcome:
        calls.append(asked.seed)
        raise error

    monkeypatch.setattr(worker_module.Worker, "_run", run)
    outcomes, _ = carried_out(project, store, requests_of([options(seed=seed) for seed in (0, 1, 2)]))
    assert calls == [0]
    assert [outcome.error is not None for _, outcome in outcomes] == [True] * 3


def _failing_for(seed: int, error: Exception) -> Any:
    run = worker_module.Worker._run

    def failing(worker: worker_module.Worker, asked: RunOptions, shard: Any) -> Outcome:
        if asked.seed == seed:
            raise error
        return run(worker, asked, shard)

    return failing


def test_setup_jobs_and_outcomes_cross_processes(project: Path, store: Store) -> None:
    (job,) = run_jobs(requests_of([options(settings={"batch": 2})]), Catalog(project), {})
    setup = Setup(Catalog(project), store)
    assert pickle.loads(pickle.dumps((setup, job))) == (setup, job)
    ((_, outcome),), _ = carried_out(project, store, requests_of([options()]))
    sent = pickle.loads(pickle.dumps(outcome))
    assert (sent.run_id, sent.state, sent.host) == (outcome.run_id, "new", outcome.host)


# Groups and needs


def grouped(project: Path, *asked: RunOptions) -> list[int]:
    """The number of each one's group."""
    known = Catalog(project)
    groups = [group_of(one, known) for one in asked]
    return [groups.index(group) for group in groups]


def test_runs_of_one_loaded_model_are_a_group(project: Path) -> None:
    plain = options()
    assert grouped(
        project,
        plain,
        plain.changed(lang="de"),
        plain.changed(prompt="shown", shots=2),
        plain.changed(seed=3, limit=4),
        plain.changed(settings={"flavour": "sweet"}),
        plain.changed(model="other"),
        options("toy-classifier"),
    ) == [0, 0, 0, 0, 4, 5, 6]


def test_tests_of_one_training_are_a_group(project: Path) -> None:
    trained = options("toy-classifier", train_lang=("en",))
    assert grouped(
        project,
        trained,
        trained.changed(lang="de"),
        trained.changed(limit=3),
        trained.changed(seed=1),
        trained.changed(train_limit=4),
        trained.changed(train_lang=("en", "de")),
        trained.changed(train_lang=()),  # the tested one, which is the same
    ) == [0, 0, 0, 3, 4, 5, 0]


def test_what_a_folder_says_of_a_backend_comes_before_its_engine(project: Path) -> None:
    known = Catalog(project)
    assert need_of(options(), known, {}).gpus == 0
    said = {"toy-model": NeedSpec(gpus=0.25, memory_gib=4.0, cpus=None)}
    need = need_of(options(), known, said)
    assert (need.gpus, need.cpus, need.memory_gib, need.engine) == (0.25, None, 4.0, "toy_model")
    with pytest.raises(UnknownName, match="toy-mode"):
        run_jobs(requests_of([options()]), known, {"toy-mode": NeedSpec(gpus=1)})


@pytest.mark.parametrize(
    ("backend", "settings", "gpus"),
    [
        ("tfidf", {}, 0),
        ("gpt-4.1-mini", {}, 0),
        *((backend, {}, None) for backend in ("minilm", "embed-e5", "setfit-e5", "gliclass", "mdeberta-xnli", "mistral")),
        ("minilm", {"device": "cpu"}, 0),
        ("minilm", {"device": "cuda"}, 1),
        ("qwen-7b-vllm", {}, None),
        ("qwen-7b-vllm", {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 4),
    ],
)
def test_the_gpus_of_an_engine(tmp_path: Path, backend: str, settings: dict[str, Any], gpus: int | None) -> None:
    known = Catalog(tmp_path)
    asked = RunOptions(backend=backend, task="reviews_demo", lang="en", settings=settings)
    assert need_of(asked, known, {}).gpus == gpus


# Events


def test_the_last_update_of_a_phase_is_sent() -> None:
    sent: list[Event] = []
    sender = Sender(3, sent.append, every=1e9)
    for done in range(5):
        sender.update("predict", done, 10, "")
    sender.update("train", 0, 2, "")
    sender.warn("hot")
    sender.update("train", 2, 2, "end")
    assert [(event.job, event.kind, event.text, event.done) for event in sent] == [
        (3, "update", "predict", 0),
        (3, "update", "predict", 4),
        (3, "update", "train", 0),
        (3, "warn", "hot", 0),
        (3, "update", "train", 2),
    ]


def test_a_record_is_seen_where_it_is_whole(project: Path, store: Store) -> None:
    (_, whole), *_ = carried_out(project, store, requests_of([options()]))[0]
    assert whole.run_id is not None
    assert is_seen(store, whole)
    (store.root / whole.run_id / "metrics.json").write_text("{}")
    assert not is_seen(store, whole)
    known = Catalog(project)
    (job,) = in_shards(run_jobs(requests_of([options(lang="de")]), known, {}), [Shard(1, 1)])
    ((_, part),) = LocalExecutor(Setup(known, store)).carry_out([job], lambda event: None)
    assert part.shard is not None
    assert is_seen(store, part)
    assert not is_seen(store, replace(part, shard=Shard(1, 2)))
