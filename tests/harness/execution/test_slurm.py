"""The SLURM executor with submitit's local cluster: outcomes as of the local executor, and what signals and deaths leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fake_slurm
import pytest
from processes_of import ended, killed, tasks, until
from slow_engine import ROWS, Errand, Purchase, noted

from harness.core.errors import RunBusy, RunError, UserError
from harness.core.places import folder_of
from harness.execution.events import COMMAND, Event
from harness.execution.executors.slurm import SlurmExecutor
from harness.execution.jobs import Job, Need
from harness.execution.outcome import Outcome
from harness.execution.worker import Setup
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.costs import MemoryBudget
from harness.specs.executors import SlurmSettings

pytestmark = pytest.mark.slow
pytest.importorskip("submitit")

DIFFER = ("finished", "timing", "machine", "peak_memory_mib", "digests", "load_average")


RUN = ("run", "--backend", "slow,slow-too", "--lang", "en,de", "--prompt", "echo", "--task", "toy")


def answered_once(slow_project: Path, times: int = 4, stopped: int = 0) -> None:
    """Each row of each run was asked for once: by `times` runs, two for each language. A `stopped` worker may have asked
    for a batch of two rows whose answers it had not yet written."""
    counts = Counter(noted(slow_project / "notes.txt"))
    assert len(counts) == 2 * ROWS
    assert min(counts.values()) == times // 2
    assert sum(counts.values()) <= times * ROWS + 2 * stopped


def submissions(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("submitted:")]


def both_are_under_way(slow_project: Path) -> bool:
    """Two tasks have rows in their journals."""
    if len(noted(slow_project / "notes.txt")) < 12:
        return False
    return len([path for path in (slow_project / "results").glob("runs/*.partial/journal.jsonl") if path.stat().st_size]) == 2


def records(results: Path) -> dict[str, Any]:
    found = {}
    for folder in sorted((results / "runs").iterdir()):
        manifest = json.loads((folder / "run.json").read_text())
        kept = {name: value for name, value in manifest.items() if name not in DIFFER}
        found[folder.name] = [kept, (folder / "predictions.jsonl").read_bytes(), (folder / "metrics.json").read_bytes()]
    return found


def test_a_recipe_by_local_and_by_slurm_gives_the_same_records(slow_project: Path, started: Any) -> None:
    (slow_project / "recipes").mkdir()
    (slow_project / "recipes" / "small.yaml").write_text(
        "description: d\ndefaults: {task: toy}\nruns:\n"
        "- {name: trained, backend: [toy-classifier, tfidf], train_lang: en, lang: [en, de]}\n"
        "- {name: asked, backend: slow, lang: [en, de], prompt: [echo, shown]}\n"
        "- {name: searched, backend: tunable, lang: en, tune: {trials: 2, space: {lr: {low: 1.0e-4, high: 1.0e-2}}}}\n"
    )
    words = ("study", "recipe", "small", "--json")
    one, _ = ended(started(*words, "--results", "one"))
    two, err = ended(started(*words, "--results", "two", "--executor", "slurm", "--workers", 2))
    assert len(records(slow_project / "one")) == 8
    assert records(slow_project / "one") == records(slow_project / "two")
    keep = ("state", "run", "metrics", "lang", "study", "value")
    kept = [[{name: run[name] for name in keep if name in run} for run in json.loads(out)] for out in (one, two)]
    assert kept[0] == kept[1]
    assert kept[0][8]["state"] == "searched"
    assert not (slow_project / "two" / "slurm").exists()
    assert "[1/8]" in err


def test_a_task_killed_in_the_middle_loses_no_row(slow_project: Path, started: Any) -> None:
    running = started(*RUN, "--executor", "slurm", "--workers", 2)
    kills = 0
    for at in (8, 30, 60):
        until(lambda at=at: len(noted(slow_project / "notes.txt")) >= at)
        for process in tasks(slow_project)[:1]:
            process.kill()
            kills += 1
    _, err = ended(running)
    assert kills >= 2
    assert err.count("submitted again") == kills
    assert len(records(slow_project / "results")) == 4
    counts = Counter(noted(slow_project / "notes.txt"))
    assert len(counts) == 2 * ROWS
    assert sum(counts.values()) <= 4 * ROWS + 4 * kills  # a killed batch, and one that was not yet in the journal


def test_force_asks_for_no_row_twice_where_a_task_dies(slow_project: Path, started: Any) -> None:
    """Nor where one is queued again at its time limit: the run would never end."""
    words = ("run", "--backend", "slow", "--lang", "en", "--prompt", "echo", "--task", "toy")
    ended(started(*words))
    (slow_project / "notes.txt").unlink()
    running = started(*words, "--executor", "slurm", "--force")
    until(lambda: len(noted(slow_project / "notes.txt")) >= ROWS - 4)
    tasks(slow_project)[0].kill()
    _, err = ended(running)
    assert "continues where it stopped" in err
    counts = Counter(noted(slow_project / "notes.txt"))
    assert len(counts) == ROWS
    assert counts.total() <= ROWS + 2  # a batch


def test_a_killed_driver_attaches_to_its_array(slow_project: Path, started: Any) -> None:
    first = started(*RUN, "--executor", "slurm", "--workers", 2)
    until(lambda: len(noted(slow_project / "notes.txt")) >= 8)
    killed(first)
    assert len(tasks(slow_project)) == 2
    out, err = ended(started(*RUN, "--executor", "slurm", "--workers", 2, "--json"))
    assert "attached to what" in err
    assert submissions(err) == []
    assert [run["state"] for run in json.loads(out)] == ["new"] * 4
    answered_once(slow_project)


def test_it_attaches_also_when_the_array_has_ended(slow_project: Path, started: Any) -> None:
    first = started(*RUN, "--executor", "slurm", "--workers", 2)
    until(lambda: len(noted(slow_project / "notes.txt")) >= 8)
    killed(first)
    until(lambda: not tasks(slow_project))
    out, err = ended(started(*RUN, "--executor", "slurm", "--json"))
    assert "attached to what" in err
    assert submissions(err) == []
    assert [run["state"] for run in json.loads(out)] == ["new"] * 4
    answered_once(slow_project)
    out, err = ended(started(*RUN, "--executor", "slurm", "--json"))
    assert [run["state"] for run in json.loads(out)] == ["found"] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_tasks_and_keeps_their_rows(slow_project: Path, started: Any, number: signal.Signals) -> None:
    running = started(*RUN, "--executor", "slurm", "--workers", 2)
    until(lambda: both_are_under_way(slow_project))
    running.send_signal(number)
    _, err = ended(running, 128 + number)
    assert tasks(slow_project) == []
    assert "Stopped. Repeat the command to continue." in err
    partial = list((slow_project / "results" / "runs").glob("*.partial"))
    assert len(partial) == 2
    ended(started(*RUN, "--executor", "slurm", "--workers", 2))
    answered_once(slow_project, stopped=2)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_preemption_and_grace_stop_a_task_which_goes_on(slow_project: Path, started: Any, number: signal.Signals) -> None:
    """SIGUSR2: submitit queues the task again. SIGTERM: the command submits it again. Neither is a death."""
    running = started(*RUN, "--executor", "slurm", "--workers", 2)
    until(lambda: both_are_under_way(slow_project))
    (stopped, *_) = tasks(slow_project)
    stopped.send_signal(number)
    _, err = ended(running)
    assert ": its worker" not in err
    assert len(submissions(err)) == (1 if number == signal.SIGUSR2 else 2)
    assert "continues where it stopped" in err
    answered_once(slow_project, stopped=1)


def test_a_run_that_kills_its_workers_fails_and_the_others_go_on(slow_project: Path, started: Any) -> None:
    words = ("run", "--backend", "deadly,slow", "--lang", "en", "--prompt", "echo", "--task", "toy", "--json")
    out, err = ended(started(*words, "--executor", "slurm", "--workers", 1), 1)
    assert [run["state"] for run in json.loads(out)] == ["failed", "new"]
    error = json.loads(out)[0]["error"]
    assert "3 workers in a row have died with it" in error["message"]
    log = Path(error["hint"].split()[2].rstrip(";"))
    assert log.is_file()
    assert err.count("submitted again") == 2


def test_two_workers_never_exceed_the_budget(slow_project: Path, started: Any) -> None:
    words = ("run", "--backend", "slow,slow-too", "--lang", "en", "--prompt", "echo", "--task", "toy", "--max-cost", 0.2)
    out, err = ended(started(*words, "--json", "--executor", "slurm", "--workers", 2), 1)
    assert "the next request could exceed it" in err
    spent = 0.0
    for journal in (slow_project / "results" / "runs").glob("*.partial/journal.jsonl"):
        for line in journal.read_text().splitlines():
            entry = json.loads(line)
            spent += (entry.get("prompt_tokens", 0) * 1000 + entry.get("new_tokens", 0) * 2000) / 1e6
    assert 0.1 < spent <= 0.2
    assert out


def test_the_arrays_of_a_command_share_its_budget(here: Path) -> None:
    """Of a recipe with a search between its runs."""
    setup = Setup(Catalog(here), Store(here / "results" / "runs"), budget=MemoryBudget(0.6))
    executor = SlurmExecutor(setup, SlurmSettings(cluster="local"), None)
    bought = [[outcome.rows for _, outcome in executor.carry_out([Purchase(name, "")], lambda event: None)] for name in "ab"]
    assert bought == [[1], [0]]
    assert setup.budget is not None
    assert setup.budget.spent == pytest.approx(0.4)


def carried_out(
    slow_project: Path, jobs: list[Job], workers: int | None = None, **settings: Any
) -> tuple[list[tuple[int, Outcome]], list[Event]]:
    told: list[Event] = []
    setup = Setup(Catalog(slow_project), Store(slow_project / "results" / "runs"))
    executor = SlurmExecutor(setup, SlurmSettings(cluster="local", **settings), workers)
    return list(executor.carry_out(jobs, told.append)), told


def test_jobs_that_wait_are_submitted_when_their_base_has_ended(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = str(here / "errands.txt")
    monkeypatch.setenv("WORLD_SIZE", "4")
    jobs: list[Job] = [
        Errand("base", notes),
        Errand("later", notes, "h", after=0),
        Errand("large", notes, "i", need=Need(0, cpus=2)),
    ]
    outcomes, told = carried_out(here, jobs)
    assert sorted((job, outcome.trained_key) for job, outcome in outcomes) == [
        (0, "key-base"),
        (1, "key-later"),
        (2, "key-large"),
    ]
    lines = noted(Path(notes))
    assert lines.index("base from None in None") < lines.index("later from key-base in None")
    submitted = [event.text for event in told if event.job == COMMAND]
    assert len(submitted) == 3  # two needs, and the one that waited
    assert {(event.job, event.text) for event in told if event.kind == "say" and event.job != COMMAND} == {
        (0, "base is done"),
        (1, "later is done"),
        (2, "large is done"),
    }


def test_what_waits_for_a_job_that_failed_is_not_possible(here: Path) -> None:
    notes = str(here / "errands.txt")
    jobs: list[Job] = [Errand("base", notes, deaths=9), Errand("later", notes, after=0), Errand("other", notes)]
    outcomes = dict(carried_out(here, jobs, workers=1)[0])
    assert {job: outcome.state for job, outcome in outcomes.items()} == {0: "failed", 1: "failed", 2: "new"}
    assert noted(Path(notes)).count("begins base") == 3
    assert isinstance(outcomes[1].error, RunError)
    assert "later is not possible" in outcomes[1].error.message


def test_a_task_that_dies_before_its_first_job_is_given_up(here: Path) -> None:
    """A setup that fails, say."""
    outcomes, told = carried_out(here, [Errand("a", str(here / "errands.txt"))], setup=["false"])
    assert [(job, outcome.state) for job, outcome in outcomes] == [(0, "failed")]
    assert sum("submitted again" in event.text for event in told) == 2


def test_the_array_of_results_at_a_url_is_no_part_of_them(here: Path) -> None:
    """submitit loads pickles of it; another command of this machine would upload them."""
    results = folder_of("memory://bucket/results")
    setup = Setup(Catalog(here), Store(results / "runs"))
    executor = SlurmExecutor(setup, SlurmSettings(cluster="local"), 1)
    jobs: list[Job] = [Errand("a", str(here / "errands.txt")), Errand("b", str(here / "errands.txt"), seconds=60)]
    under_way = executor.carry_out(jobs, lambda event: None)
    assert next(under_way)[0] == 0
    assert list(results.parent.glob("slurm/*/outcomes/0.json"))
    assert not list(results.rglob("slurm*"))
    under_way.close()


def test_setup_runs_before_a_worker(here: Path) -> None:
    outcomes, _ = carried_out(here, [Errand("a", str(here / "errands.txt"))], setup=["export X=1", f"echo $X > {here}/said"])
    assert [outcome.state for _, outcome in outcomes] == ["new"]
    assert (here / "said").read_text() == "1\n"


def test_the_time_limit_queues_a_task_again(here: Path) -> None:
    """The limit of a minute, less the notice of 30 s: the task is stopped once and goes on."""
    jobs: list[Job] = [Errand("a", str(here / "errands.txt")), Errand("b", str(here / "errands.txt"), seconds=45)]
    outcomes, told = carried_out(here, jobs, workers=1, time="1")
    assert [outcome.state for _, outcome in outcomes] == ["new", "new"]
    assert sum(event.text.startswith("submitted") for event in told) == 1
    assert Counter(noted(here / "errands.txt")) == {
        "begins a": 1,
        "a from None in None": 1,
        "begins b": 2,
        "b from None in None": 1,
    }


def test_two_commands_do_not_drive_the_same_array(here: Path) -> None:
    jobs: list[Job] = [Errand("a", str(here / "errands.txt"), seconds=5)]
    setup = Setup(Catalog(here), Store(here / "results" / "runs"))
    executor = SlurmExecutor(setup, SlurmSettings(cluster="local"), None)
    first = executor.carry_out(jobs, lambda event: told.append(event))
    told: list[Event] = []
    assert next(first)[0] == 0
    folders = list((here / "results" / "slurm").iterdir())
    with pytest.raises(RunBusy, match="waits for the same jobs"):
        next(executor.carry_out(jobs, lambda event: None))
    assert list((here / "results" / "slurm").iterdir()) == folders
    assert list(first) == []
    assert not (here / "results" / "slurm").exists()


def test_without_slurm_the_message_names_the_way_out(slow_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    executor = SlurmExecutor(Setup(Catalog(slow_project), Store(slow_project / "results" / "runs")), SlurmSettings(), None)
    with pytest.raises(UserError, match="no sbatch") as stop:
        next(executor.carry_out([], lambda event: None))
    assert "bench.toml" in stop.value.hint
    assert not (slow_project / "results").exists()


def test_an_array_of_other_specs_is_not_attached_to(slow_project: Path, started: Any) -> None:
    """A prompt that was changed while the command was away makes other runs."""
    words = ("run", "--backend", "slow", "--lang", "en", "--prompt", "echo", "--task", "toy", "--executor", "slurm")
    first = started(*words)
    until(lambda: len(noted(slow_project / "notes.txt")) >= 4)
    killed(first)
    until(lambda: not tasks(slow_project))
    (slow_project / "prompts" / "echo.j2").write_text("---\ndescription: d\nparser: integer\n---\nplease {{ text }}\n")
    _, err = ended(started(*words))
    assert "attached" not in err
    assert len(records(slow_project / "results")) == 2


def test_a_run_in_a_script_of_sbatch_goes_on_after_scontrol_requeue(slow_project: Path, started: Any) -> None:
    """What SLURM does to a job of the user's own: SIGTERM with 30 s of grace, and the same script again."""
    words = ("run", "--backend", "slow", "--lang", "en,de", "--prompt", "echo", "--task", "toy")
    for rows in (10, 30):
        running = started(*words)
        until(lambda rows=rows: len(noted(slow_project / "notes.txt")) >= rows)
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        ended(running, 128 + signal.SIGTERM)
        assert time.monotonic() - began < 30
        for journal in (slow_project / "results" / "runs").glob("*.partial/journal.jsonl"):
            assert journal.read_bytes().endswith(b"\n")
    ended(started(*words))
    answered_once(slow_project, times=2, stopped=2)
    assert len(records(slow_project / "results")) == 2


# SLURM's commands, played by scripts


@pytest.fixture
def cluster(slow_project: Path, tmp_path: Path, environment: dict[str, str]) -> Path:
    """The folder of its jobs."""
    environment |= fake_slurm.install(tmp_path / "slurm")
    (slow_project / "bench.toml").write_text(
        '[slurm]\npartition = "gpu"\naccount = "lab"\ntime = "1:00:00"\nsetup = ["export MODULES=loaded"]\n'
        'parameters = {qos = "low"}\n[needs.slow]\ncpus = 3\nmemory_gib = 6\n'
    )
    return Path(environment["FAKE_SLURM"])


def scripts(cluster: Path) -> list[str]:
    return [path.read_text() for path in sorted(cluster.glob("*.sbatch"))]


def job_states(cluster: Path) -> dict[str, str]:
    return {path.stem: json.loads(path.read_text())["state"] for path in sorted(cluster.glob("*.json"))}


def test_slurm_gets_arrays_with_what_the_runs_need(slow_project: Path, started: Any, cluster: Path) -> None:
    out, err = ended(started(*RUN, "--executor", "slurm", "--workers", 3, "--json"))
    assert [run["state"] for run in json.loads(out)] == ["new"] * 4
    answered_once(slow_project)
    assert "submitted: 2 of 4 as jobs 1000_0, 1000_1" in err
    first, second = scripts(cluster)
    for line in ("--partition=gpu", "--account=lab", "--time=60", "--qos=low", "export MODULES=loaded"):
        assert line in first
        assert line in second
    assert "--array=0-1%2" in first
    assert "--cpus-per-task=3" in first
    assert "--mem=6GB" in first
    assert "--array" not in second
    assert "--mem" not in second
    assert "--gpus" not in first + second
    until(lambda: set(job_states(cluster).values()) == {"COMPLETED"})


def test_slurm_preempts_a_task_which_is_queued_again(slow_project: Path, started: Any, cluster: Path) -> None:
    """SIGUSR2, then scontrol requeue, whose SIGTERM comes while the task ends."""
    running = started(*RUN, "--executor", "slurm", "--workers", 2)
    until(lambda: both_are_under_way(slow_project))
    (stopped, *_) = tasks(slow_project)
    stopped.send_signal(signal.SIGUSR2)
    _, err = ended(running)
    assert ": its worker" not in err
    assert len(scripts(cluster)) == 2  # one for each need, and no other
    answered_once(slow_project, stopped=1)


def test_scancel_is_not_undone(slow_project: Path, started: Any, cluster: Path, environment: dict[str, str]) -> None:
    running = started(*RUN, "--executor", "slurm", "--workers", 2, "--json")
    until(lambda: both_are_under_way(slow_project))
    subprocess.run(["scancel", "1000"], env=environment, check=True)
    out, err = ended(running, 1)
    states = [run["state"] for run in json.loads(out)]
    assert sorted(states) == ["incomplete", "incomplete", "new", "new"]
    assert "job 1000 was cancelled" in err
    ended(started(*RUN, "--executor", "slurm", "--workers", 2))
    answered_once(slow_project, stopped=1)


def test_ctrl_c_cancels_the_arrays(slow_project: Path, started: Any, cluster: Path) -> None:
    running = started(*RUN, "--executor", "slurm", "--workers", 2)
    until(lambda: both_are_under_way(slow_project))
    running.send_signal(signal.SIGINT)
    ended(running, 130)
    assert set(job_states(cluster).values()) == {"CANCELLED by 0"}
    assert tasks(slow_project) == []
    ended(started(*RUN, "--executor", "slurm", "--workers", 2))
    answered_once(slow_project, stopped=2)


def test_a_cluster_that_refuses_a_job_says_why(slow_project: Path, started: Any, cluster: Path) -> None:
    sbatch = cluster.parent / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    _, err = ended(started(*RUN, "--executor", "slurm"), 1)
    assert "invalid partition specified: gpu" in err
    assert "bench.toml" in err
