"""The Ray executor on a cluster of two nodes: the same records as in one process, and what happens when parts of it die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray_jobs

from harness.core.distributed import LAUNCHER_VARIABLES
from harness.core.errors import BenchError, RunError, UserError
from harness.core.options import ExecutionOptions, RunOptions
from harness.execution.events import Event
from harness.execution.executors import _ray_cluster, executor_of
from harness.execution.executors import ray as executor_module
from harness.execution.executors._ray_cluster import Nodes, _no_cluster, connect, in_words
from harness.execution.executors._ray_worker import Coordinator, sent_variables
from harness.execution.executors.local import LocalExecutor
from harness.execution.executors.ray import RayExecutor
from harness.execution.jobs import Job, Need, requests_of, run_jobs
from harness.execution.outcome import Outcome
from harness.execution.worker import Setup
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.costs import MemoryBudget
from harness.specs.executors import ExecutorTables, RaySettings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

HERE = Path(__file__).resolve()
ROOT = HERE.parents[3]
BACKENDS_TESTS = ROOT / "tests" / "backends"
BENCH = [sys.executable, "-c", "from harness.cli import main; main()"]
TASK = """\
description: d
source: {files: {test: rows/test.jsonl}}
columns: {id: id, lang: lang}
labels: {kind: ordinal, names: [bad, fair, good]}
languages: [en, de]
"""
PROMPT = "---\ndescription: d\nparser: integer\n---\n{{ text }}\n"
RECIPE = """\
description: Trained, tested elsewhere, and trained on.
note: n
defaults: {task: reviews_demo, limit: 20, train_limit: 30, validation_limit: 9}
runs:
  - {name: shares, backend: majority, lang: [en, fr], train_lang: en}
  - {name: words, backend: tfidf, lang: [en, de], train_lang: en}
  - {name: bert, backend: bert, model: tiny, lang: [en, de], train_lang: en, set: {train: {epochs: 1}}}
  - {name: further, continued_from: bert, backend: bert, model: tiny, lang: de, train_lang: de, set: {train: {epochs: 1}}}
"""
ROWS = 120


SMALL: dict[str, Any] = {"object_store_memory": 80 * 2**20, "num_cpus": 2}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head and a worker node of 2 CPUs each; the head says that it has 2 GPUs too."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ |= {"PYTHONPATH": f"{ROOT}:{HERE.parent}", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "WORLD_SIZE": "8"}
    head = {"include_dashboard": False, "num_gpus": 2, **SMALL}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.add_node(**SMALL)
    os.environ.pop("WORLD_SIZE")
    yield found
    found.shutdown()
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def cluster(nodes: Any) -> str:
    """Its address."""
    return str(nodes.address)


@pytest.fixture
def address(cluster: str) -> Iterator[str]:
    """For a driver in this process."""
    import ray

    yield cluster
    ray.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows for a server that answers each in its time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(BACKENDS_TESTS))
    rows = [
        {"id": f"{lang}-{n}", "text": f"text {lang} {n} {'long ' * (n % 5)}", "label": n % 3, "lang": lang}
        for lang in ("en", "de")
        for n in range(ROWS)
    ]
    files = {"tasks/slow.yaml": TASK, "prompts/echo.j2": PROMPT, "tasks/rows/test.jsonl": "\n".join(map(json.dumps, rows))}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def server(project: Path) -> Iterator[Any]:
    """A backend `served` of this project: eight rows a batch, 30 ms a row, and a price."""
    from fake_server import KEY, Handler, fake_server

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(0.03)
        text = body["messages"][-1]["content"]
        message = {"role": "assistant", "content": str(sum(text.encode()) % 3)}
        usage = {"prompt_tokens": 10, "completion_tokens": 1}
        handler.send(200, {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage})

    with fake_server(reply=reply) as fake:
        spec = f"engine: openai\nmodel: tiny-chat\noptions: {{base_url: '{fake.url}', api_key_env: TEST_API_KEY, "
        spec += "concurrency: 1}\n"
        spec += "price: {prompt: 1000, completion: 1000, source: nowhere}\n"
        (project / "backends").mkdir()
        (project / "backends" / "served.yaml").write_text(spec)
        os.environ["TEST_API_KEY"] = KEY
        yield fake
        del os.environ["TEST_API_KEY"]


def options(backend: str = "served", task: str = "slow", **values: Any) -> RunOptions:
    prompt = {"prompt": "echo"} if task == "slow" else {}
    return RunOptions(**{"backend": backend, "task": task, "lang": "en", **prompt, **values})


def on_ray(address: str, workers: int | None = None, **setup: Any) -> RayExecutor:
    return RayExecutor(Setup(Catalog(Path.cwd()), Store(Path("results/runs")), **setup), RaySettings(), workers, address)


def carried_out(executor: RayExecutor | LocalExecutor, jobs: Sequence[Job]) -> tuple[dict[int, Outcome], list[Event]]:
    told: list[Event] = []
    return dict(executor.carry_out(jobs, told.append)), told


def jobs_of(*asked: RunOptions) -> list[Job]:
    return list(run_jobs(requests_of(asked), Catalog(Path.cwd()), {}))


def notes(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def workers() -> list[psutil.Process]:
    """Those of this process's nodes that do a job; an idle one has another name. Other clusters of the machine are not ours."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if (process.cmdline() or [""])[0].startswith("ray::RayWorker.do"):
                found.append(process)
    return found


def until(is_so: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def each_row_once(store: Store, *names: str | None) -> None:
    for name in names:
        assert name is not None
        ids = [row["id"] for row in store.predictions(name)]
        assert len(set(ids)) == len(ids) == ROWS


def same_records(one: Store, other: Store) -> None:
    """But for times, memory, and the load of the machine."""
    assert one.ids() == other.ids()
    for name in one.ids():
        for file in ("predictions.jsonl", "metrics.json"):
            assert (one.root / name / file).read_bytes() == (other.root / name / file).read_bytes()
        left, right = (timeless(json.loads((store.root / name / "run.json").read_text())) for store in (one, other))
        assert left == right


def timeless(manifest: dict[str, Any]) -> dict[str, Any]:
    varying = {"timing", "peak_memory_mib", "created", "load_average", "digests", "started", "finished", "sha256"}
    kept = {name: value for name, value in manifest.items() if name not in varying}
    if kept.get("training"):
        kept["training"] = {name: value for name, value in kept["training"].items() if "seconds" not in name}
    return kept


# Records


def test_a_recipe_gives_the_records_of_one_process(cluster: str, project: Path) -> None:
    """In processes of their own: this one has another processor, as tests/conftest.py says. The nodes set WORLD_SIZE."""
    import tiny_models

    tiny_models.write_bert(project / "tiny")
    (project / "recipes").mkdir()
    (project / "recipes" / "mixed.yaml").write_text(RECIPE)
    said: dict[str, list[Any]] = {}
    for name, words in {"local": [], "ray": ["--executor", "ray", "--address", cluster]}.items():
        own = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_CACHE": str(project / f"cache-{name}")}
        command = [*BENCH, "study", "recipe", "mixed", "--results", name, "--json", *words]
        done = subprocess.run(command, env=own, capture_output=True, encoding="utf-8", timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        said[name] = [
            {key: run[key] for key in ("step", "state", "run", "model_from_cache")} for run in json.loads(done.stdout)
        ]
    assert [run["state"] for run in said["ray"]] == ["new"] * 7
    assert said["ray"] == said["local"]
    same_records(Store(project / "local" / "runs"), Store(project / "ray" / "runs"))


def test_what_is_recorded_is_found(address: str, project: Path) -> None:
    small = {"limit": 20, "train_limit": 30, "validation_limit": 9, "task": "reviews_demo"}
    asked = [options("tfidf", lang=lang, train_lang=("en",), **small) for lang in ("en", "de")]
    outcomes, told = carried_out(on_ray(address), jobs_of(*asked))
    assert [(outcomes[job].state, outcomes[job].loads) for job in (0, 1)] == [("new", 1), ("new", 0)]
    assert outcomes[1].model_from_cache
    assert Counter(event.job for event in told if event.kind == "start") >= Counter(range(2))
    assert f"{outcomes[1].run_id}: trained model found in the cache" in [event.text for event in told if event.kind == "say"]
    again, _ = carried_out(on_ray(address), jobs_of(*asked))
    assert [again[job].state for job in (0, 1)] == ["found", "found"]


def test_each_worker_loads_a_checkpoint_once(address: str, project: Path) -> None:
    import tiny_models

    for name in ("one", "two"):
        tiny_models.write_mistral(project / name, tiny_models.tokenizer_of("llama"))
    asked = [
        options("mistral", model=name, lang=lang, limit=limit, decoding="score")
        for lang in ("en", "de")
        for limit in (4, 5)
        for name in ("one", "two")
    ]
    outcomes, _ = carried_out(on_ray(address, workers=2), jobs_of(*asked))
    assert [str(outcome.error) for outcome in outcomes.values() if outcome.error] == []
    assert len(outcomes) == 8
    assert 2 <= sum(outcome.loads for outcome in outcomes.values()) <= 4  # two workers, two checkpoints


# Scheduling


def test_one_trains_while_the_others_of_its_group_wait(address: str, project: Path) -> None:
    book = project / "notes"
    same = [ray_jobs.Errand(f"t{n}", str(book), group="t", trains=True, seconds=1.0) for n in range(3)]
    free = [ray_jobs.Errand("free", str(book), group="f", seconds=0.1)]
    outcomes, _ = carried_out(on_ray(address), [*same, *free])
    assert len(outcomes) == 4
    times = {line[0]: float(line[4]) for line in notes(book)}
    assert times["t1"] - times["t0"] >= 1.0
    assert times["t2"] - times["t0"] >= 1.0


def test_a_job_starts_from_the_model_of_another(address: str, project: Path) -> None:
    book = project / "notes"
    jobs = [ray_jobs.Errand("base", str(book)), ray_jobs.Errand("later", str(book), after=0)]
    carried_out(on_ray(address), jobs)
    assert [line[0] for line in notes(book)] == ["base", "later"]
    assert " ".join(notes(book)[1][5:]) == "model of base"


def test_needs_are_met_and_workers_are_kept_for_their_kind(address: str, project: Path) -> None:
    """Two GPUs: four workers with half a GPU each at most, one with two."""
    book = project / "notes"
    halves = [ray_jobs.Errand(f"half{n}", str(book), Need(0.5, cpus=0.25), group=f"h{n}", seconds=0.5) for n in range(6)]
    whole = [ray_jobs.Errand(f"two{n}", str(book), Need(2.0), group="w") for n in range(2)]
    default = [ray_jobs.Errand("default", str(book), Need(None), group="d")]
    outcomes, _ = carried_out(on_ray(address), [*halves, *whole, *default])
    assert len(outcomes) == 9
    had = {line[0]: (float(line[2]), float(line[3])) for line in notes(book)}
    assert {had[f"half{n}"] for n in range(6)} == {(0.5, 0.25)}
    assert {had["two0"], had["two1"]} == {(2.0, 1.0)}
    assert had["default"] == (1.0, 1.0)
    kinds = defaultdict(set)
    for line in notes(book):
        kinds[line[1]].add(had[line[0]])
    assert all(len(kind) == 1 for kind in kinds.values())
    assert len({line[1] for line in notes(book) if line[0].startswith("half")}) <= 4


def test_no_more_workers_than_asked_for(address: str, project: Path) -> None:
    book = project / "notes"
    needs = [Need(0), Need(0.5), Need(0)]
    jobs = [ray_jobs.Errand(f"e{n}", str(book), need, group=str(n), seconds=0.3) for n, need in enumerate(needs)]
    assert len(carried_out(on_ray(address, workers=1), jobs)[0]) == 3
    times = sorted(float(line[4]) for line in notes(book))
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(times))


def test_a_need_that_no_node_meets_is_named(address: str, project: Path) -> None:
    book = project / "notes"
    jobs = [ray_jobs.Errand("huge", str(book), Need(3.0)), ray_jobs.Errand("small", str(book))]
    outcomes, _ = carried_out(on_ray(address), [*jobs, ray_jobs.Errand("later", str(book), after=0)])
    assert [outcomes[job].state for job in range(3)] == ["failed", "new", "failed"]
    error = outcomes[0].error
    assert isinstance(error, UserError)
    assert "huge needs 3 GPUs, 1 CPU" in error.message
    assert "2 GPUs, 2 CPUs" in error.message
    assert "[needs.BACKEND]" in error.hint


# Deaths


def test_ten_workers_killed_lose_no_row(address: str, project: Path, server: Any) -> None:
    """One run: each worker is killed after it has asked for a batch more, and the next one goes on from the journal."""
    plain = Store(project / "local" / "runs")
    carried_out(LocalExecutor(Setup(Catalog(project), plain)), jobs_of(options()))
    server.count.clear()
    killed: list[int] = []

    def kill() -> None:
        for _ in range(10):
            before = server.count.total()
            until(lambda before=before: server.count.total() >= before + 9 and workers())
            for process in workers():
                process.kill()
                killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes, told = carried_out(on_ray(address), jobs_of(options()))
    killer.join()
    assert outcomes[0].state == "new", outcomes[0].error
    assert len(killed) == len(set(killed)) == 10
    assert sum(event.kind == "warn" and "has died" in event.text for event in told) >= 1
    store = Store(project / "results" / "runs")
    each_row_once(store, outcomes[0].run_id)
    (name,) = store.ids()
    assert (store.root / name / "predictions.jsonl").read_bytes() == (plain.root / name / "predictions.jsonl").read_bytes()
    assert set(server.count.values()) <= {1, 2, 3}
    assert server.count.total() <= ROWS + 10 * 8  # at most the batch under way is asked for again


def test_the_rows_of_a_dead_worker_are_kept_with_force(address: str, project: Path) -> None:
    ended, _ = carried_out(on_ray(address), [ray_jobs.Halfway("half", str(project / "notes"))])
    assert ended[0].trained_key == "True"


def test_a_job_that_kills_three_workers_fails_and_the_others_go_on(address: str, project: Path) -> None:
    jobs = [ray_jobs.Deadly("deadly", str(project / "deadly")), ray_jobs.Errand("good", str(project / "good"))]
    outcomes, _ = carried_out(on_ray(address), jobs)
    assert [outcomes[job].state for job in (0, 1)] == ["failed", "new"]
    assert isinstance(outcomes[0].error, RunError)
    assert "deadly: 3 workers in a row have died with it" in outcomes[0].error.message
    assert "its process was killed" in outcomes[0].error.message
    assert len(notes(project / "deadly")) == 3
    jobs = [ray_jobs.Deadly("once", str(project / "once"), times=2)]
    outcomes, _ = carried_out(on_ray(address), jobs)
    assert outcomes[0].state == "new"


def test_a_lost_node_takes_no_job_with_it(address: str, nodes: Any, project: Path) -> None:
    book = project / "notes"
    need = Need(0, cpus=2)  # one to each node
    jobs = [ray_jobs.Errand(f"e{n}", str(book), need, group=str(n), seconds=8.0) for n in range(2)]

    def lose() -> None:
        until(lambda: len(notes(book)) == 2)
        nodes.remove_node(max(nodes.worker_nodes, key=lambda node: node.node_id), allow_graceful=False)

    loser = threading.Thread(target=lose)
    loser.start()
    outcomes, told = carried_out(on_ray(address), jobs)
    loser.join()
    nodes.add_node(**SMALL)
    assert {outcome.state for outcome in outcomes.values()} == {"new"}
    assert len(notes(book)) == 3
    (warned,) = [event.text for event in told if event.kind == "warn"]
    assert any(why in warned for why in ("its node is lost", "can't be reached", "its process was killed"))


def test_a_busy_run_is_tried_again(address: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = project / "notes"
    job = ray_jobs.Occupied("busy", str(book), times=2)
    outcomes, told = carried_out(on_ray(address), [job])
    assert (outcomes[0].state, len(notes(book))) == ("new", 3)
    assert any(event.text == "wait" for event in told)
    monkeypatch.setattr(executor_module, "BUSY_PATIENCE", 1.0)
    outcomes, _ = carried_out(on_ray(address), [ray_jobs.Occupied("busy", str(project / "more"), times=99)])
    assert "is working on the run" in str(outcomes[0].error)


def test_a_record_in_a_folder_of_another_machine_is_noticed(
    address: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "UNSEEN_PATIENCE", 0.5)
    with pytest.raises(RunError, match="another folder there"):
        carried_out(on_ray(address), [ray_jobs.Lost("lost", str(project / "notes"))])


def test_a_node_without_the_folder_is_named(address: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "inner"
    inner.mkdir()
    executor = on_ray(address)
    connect(address, {})
    real = executor_module._WorkerPool._start_worker

    def gone(pool: Any, resources: Any) -> None:
        pool._environment = executor_module.Environment(inner / "gone", {}, loud=False)
        real(pool, resources)

    monkeypatch.setattr(executor_module._WorkerPool, "_start_worker", gone)
    with pytest.raises(RunError, match="can't be entered"):
        carried_out(executor, [ray_jobs.Errand("e", str(project / "notes"))])


# Stopping


@pytest.fixture
def started(cluster: str, project: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`started("--backend", "served")` is `bench run --executor ray` in a process of its own."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [*BENCH, "run", "--task", "slow", "--prompt", "echo", "--executor", "ray", "--address", cluster, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        )
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_workers_and_keeps_all_rows(
    started: Any, project: Path, server: Any, number: signal.Signals
) -> None:
    running = started("--backend", "served", "--lang", "en,de")
    until(lambda: min(sum(f" {lang} " in text for text in server.count) for lang in ("en", "de")) > 20)
    began = time.monotonic()
    running.send_signal(number)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 128 + number, err
    assert "Stopped. Repeat the command to continue." in err
    assert "Traceback" not in err
    assert time.monotonic() - began < 30
    until(lambda: not workers(), 10)
    journals = list(project.glob("results/runs/*.partial/journal.jsonl"))
    assert len(journals) == 2
    for journal in journals:
        lines = journal.read_text().splitlines(keepends=True)
        assert lines
        assert all(line.endswith("\n") and json.loads(line) for line in lines)
    out, err = started("--backend", "served", "--lang", "en,de", "--json").communicate(timeout=120)
    said = json.loads(out)
    assert [run["state"] for run in said] == ["new", "new"], err
    each_row_once(Store(project / "results" / "runs"), *(run["run"] for run in said))
    assert server.count.total() <= 2 * ROWS + 2 * 8


def test_after_a_killed_driver_the_same_command_goes_on(started: Any, project: Path, server: Any) -> None:
    running = started("--backend", "served", "--lang", "en,de")
    until(lambda: server.count.total() > 60)
    running.kill()
    running.wait()
    out, err = started("--backend", "served", "--lang", "en,de", "--json").communicate(timeout=180)
    said = json.loads(out)
    assert [run["state"] for run in said] == ["new", "new"], err
    each_row_once(Store(project / "results" / "runs"), *(run["run"] for run in said))


def test_a_worker_that_sleeps_is_woken(address: str, project: Path) -> None:
    """It tells no progress: a signal interrupts it."""
    book = project / "notes"
    series = on_ray(address).carry_out([ray_jobs.Errand("long", str(book), seconds=600)], lambda event: None)

    def interrupt() -> None:
        until(lambda: notes(book))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(series)
    until(lambda: not psutil.pid_exists(int(notes(book)[0][1])), 5)
    assert time.monotonic() - began < 60


def test_ctrl_c_in_a_terminal_ends_a_cluster_of_this_machine(project: Path, server: Any, cluster: str) -> None:
    """Without --address, and the signal goes to all processes of the terminal."""
    command = [*BENCH, "run", "--task", "slow", "--prompt", "echo", "--executor", "ray", "--backend", "served", "--lang", "en"]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, env=own, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True)
    try:
        until(lambda: server.count.total() > 20)
        family = psutil.Process(running.pid).children(recursive=True)
        assert any("raylet" in " ".join(process.cmdline()) for process in family)
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert "Stopped. Repeat the command to continue." in err
    assert "Traceback" not in err
    assert psutil.wait_procs(family, timeout=30)[1] == []
    (journal,) = project.glob("results/runs/*.partial/journal.jsonl")
    assert all(json.loads(line) for line in journal.read_text().splitlines())


# Budget


def test_workers_share_one_budget(address: str, project: Path, server: Any) -> None:
    """A row costs 11 tokens. Two workers that spent the limit each would cost twice as much."""
    row = 11 * 1000 / 1e6
    budget = MemoryBudget(100 * row)
    outcomes, _ = carried_out(on_ray(address, budget=budget), jobs_of(options(), options(lang="de")))
    assert {outcome.state for outcome in outcomes.values()} == {"failed"}
    spent = server.count.total() * row
    assert spent <= budget.limit
    assert spent > 0.4 * budget.limit
    assert budget.spent == pytest.approx(spent)


def test_what_a_killed_worker_reserved_is_spent() -> None:
    coordinator = Coordinator(1.0, 0.25)
    assert coordinator.reserve(1, [0.25, 0.25, 0.5]).count == 2
    refused = coordinator.reserve(2, [0.5])
    assert (refused.count, refused.wait, refused.left) == (0, True, 0.25)
    assert coordinator.settle(1, 0.125).left == 0.625
    assert coordinator.reserve(1, [0.5]).count == 1
    coordinator.write_off(1)  # it has died
    lost = coordinator.reserve(2, [0.5])
    assert (lost.count, lost.wait, lost.spent) == (0, False, 0.875)
    assert coordinator.spent() == 0.875


def test_a_worker_that_reserves_again_has_forfeited_what_it_never_settled() -> None:
    coordinator = Coordinator(1.0, 0.0)
    coordinator.reserve(1, [0.5])
    assert coordinator.reserve(1, [0.75]).wait is False
    assert coordinator.spent() == 0.5


# The cluster and options


def test_an_address_without_a_cluster_is_a_mistake() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"There is no Ray cluster at 127.0.0.1:1: .*refused"):
        connect("127.0.0.1:1", {})
    assert time.monotonic() - began < 15


def test_a_refused_token_is_named_as_a_possible_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says no more than that it can't connect."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert "RAY_AUTH_TOKEN" in _no_cluster("head:6379", "Failed to connect to Ray cluster at head:6379.").hint
    assert "RAY_AUTH_TOKEN" not in _no_cluster("head:6379", "[Errno 111] Connection refused.").hint


def test_a_client_is_told_to_go_to_the_cluster() -> None:
    with pytest.raises(UserError, match="no part of the cluster"):
        connect("ray://127.0.0.1:10001", {})


def test_sigterm_while_ray_starts_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a mistake of the user."""

    class Starting:
        def is_initialized(self) -> bool:
            return False

        def init(self, *arguments: Any, **options: Any) -> None:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does
            signal.raise_signal(signal.SIGTERM)

    def ours(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ours)
    monkeypatch.setattr(_ray_cluster, "the_ray", Starting)
    try:
        with pytest.raises(KeyboardInterrupt):
            connect(None, {})
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_tracker_follows_runs_elsewhere(tmp_path: Path) -> None:
    asked = ExecutionOptions(executor="ray", track="tensorboard")
    with pytest.raises(UserError, match="--track tensorboard"):
        executor_of(asked, ExecutorTables(), Setup(Catalog(tmp_path), Store(tmp_path)))


def test_what_a_worker_takes_over_of_the_environment() -> None:
    here = {"BENCH_CACHE": "/c", "HF_HOME": "/h", "MISTRAL_API_KEY": "k", "PATH": "/bin", "RAY_ADDRESS": "x", "HOME": "/"}
    assert sent_variables(here, {"HF_HOME": "/other"}) == {"BENCH_CACHE": "/c", "MISTRAL_API_KEY": "k"}
    assert not set(sent_variables(dict.fromkeys(LAUNCHER_VARIABLES, "1"), {}))


def test_a_cluster_that_grows_has_room_for_what_it_may_grow_to(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    monkeypatch.setattr(nodes, "all", lambda: [{"CPU": 2.0}])
    most: list[dict[str, float] | None] = [None]
    monkeypatch.setattr(nodes, "most", lambda: most[0])
    gpu = {"CPU": 1.0, "GPU": 1.0}
    assert not nodes.can_hold(gpu)
    assert nodes.asked_by(Need(None)) == {"CPU": 1.0}
    most[0] = {"CPU": 64.0, "GPU": 8.0}
    assert nodes.can_hold(gpu)
    assert nodes.asked_by(Need(None, memory_gib=1.5)) == {**gpu, "memory": 1.5 * 2**30}
    assert nodes.have_room(gpu, [gpu] * 7)
    assert not nodes.have_room(gpu, [gpu] * 8)


def test_room_is_that_of_nodes_and_not_of_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    monkeypatch.setattr(nodes, "all", lambda: [{"CPU": 2.0}, {"CPU": 3.0}])
    monkeypatch.setattr(nodes, "most", lambda: None)
    assert nodes.can_hold({"CPU": 3.0})
    assert not nodes.can_hold({"CPU": 4.0})
    assert nodes.have_room({"CPU": 2.0}, [{"CPU": 2.0}])
    assert not nodes.have_room({"CPU": 2.0}, [{"CPU": 2.0}, {"CPU": 2.0}])
    assert nodes.largest() == "3 CPUs"
    assert in_words({"GPU": 1, "CPU": 0.5, "memory": 2**30}) == "1 GPU, 0.5 CPUs, 1.0 GiB of memory"


def test_a_lost_cluster_is_named(address: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "Coordinator", ray_jobs.MortalCoordinator)
    with pytest.raises(RunError, match="Ray cluster is lost"):
        carried_out(on_ray(address), [ray_jobs.Errand("a", str(project / "book"))])


def test_errors_cross_from_a_worker(address: str, project: Path) -> None:
    outcomes, _ = carried_out(on_ray(address), jobs_of(options("tfidf", task="reviews_demo", lang="xx")))
    assert isinstance(outcomes[0].error, BenchError)
    assert outcomes[0].error.exit_code == 2
