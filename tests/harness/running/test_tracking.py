"""Trackers: what they are told of a run, that they change nothing of it, and that their troubles are not its own."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import toy

from harness.core.errors import RunError, UserError
from harness.core.progress_events import log_training
from harness.records.store import Store
from harness.running.runner import EngineSlot, run
from harness.running.tracking import End, Plain, Track, Tracker, config_of, open_sink, tracked_by, where


class Listening:
    """A sink that keeps what it hears; `trouble` is called first."""

    def __init__(self, trouble: Callable[[], None] = lambda: None) -> None:
        self.heard: list[Any] = []
        self.trouble = trouble

    def start(self, run: str, task: str, config: Mapping[str, Plain]) -> None:
        self.trouble()
        self.heard.append(("start", run, task, dict(config)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.heard.append(("log", step, dict(values)))

    def finish(self, values: Mapping[str, float], end: End) -> None:
        self.heard.append(("finish", dict(values), end))


def tracked_run(project: Path, sink: Any, results: Path, **changes: Any) -> tuple[Any, str | None]:
    """The result of a run of the toy model, and the tracker's problem."""
    tracker = Tracker(sink)
    with tracked_by(tracker):
        result = run(toy.plan(project, **changes), Store(results / "runs"), EngineSlot())
    return result, tracker.close()


def test_a_run_is_told_with_its_figures(project: Path, tmp_path: Path) -> None:
    sink = Listening()
    result, problem = tracked_run(project, sink, tmp_path)
    assert problem is None
    (_, name, task, config), (_, figures, end) = sink.heard
    assert (name, task, end) == (result.run_id, "toy", End.DONE)
    assert {"lang": "en", "backend": "toy-model", "prompt": "echo", "decoding": "free", "seed": 0}.items() <= config.items()
    assert config["options.batch"] == 3
    assert figures["test/accuracy"] == result.record.metrics.values["accuracy"].value
    assert figures["test/accuracy_low"] == result.record.metrics.values["accuracy"].low
    assert figures["test/unparsed_share"] == pytest.approx(1 / 11)
    assert figures["test/failed_share"] == pytest.approx(1 / 11)
    assert figures["tokens/new"] == 20
    assert figures["speed/rows_per_second"] > 0


def test_what_is_tracked_is_no_part_of_the_run(project: Path, tmp_path: Path) -> None:
    plain = run(toy.plan(project), Store(tmp_path / "plain" / "runs"), EngineSlot())
    result, _ = tracked_run(project, Listening(), tmp_path / "tracked")
    assert result.run_id == plain.run_id
    for file in ("predictions.jsonl", "metrics.json"):
        assert (result.folder / file).read_bytes() == (plain.folder / file).read_bytes()
    records = [json.loads((folder / "run.json").read_text()) for folder in (plain.folder, result.folder)]
    assert records[0].keys() == records[1].keys()


def test_no_text_no_key_and_no_path_is_told(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy.plan(project)
    backend = plan.identity.backend
    secret = {
        "base_url": "https://key@host/v1",
        "file": "/home/somebody/x",
        "near": "../x",
        "api_key_env": "KEY",
        "said": "Be brief, please.",
    }
    options = {**backend.options, **secret, "windows": "C:\\x", "deep": {"rate": 0.5, "names": ["a", "b"]}}
    identity = plan.identity.model_copy(update={"backend": backend.model_copy(update={"options": options})})
    config = config_of(replace(plan, identity=identity))
    assert {name for name in config if name.startswith("options.")} == {
        "options.batch",
        "options.flavour",
        "options.evaluations",
        "options.deep.rate",
        "options.deep.names",
    }
    sink = Listening()
    tracked_run(project, sink, tmp_path, backend="toy-classifier", prompt=None)
    told = json.dumps(sink.heard, default=str)
    assert toy.SECRET not in told
    assert str(tmp_path) not in told


class TrialPruned(Exception):
    """Stands for Optuna's."""


@pytest.mark.parametrize(
    ("error", "end"),
    [(RunError("no power"), End.FAILED), (KeyboardInterrupt("no power"), End.STOPPED), (TrialPruned("no power"), End.PRUNED)],
    ids=["failed", "stopped", "pruned"],
)
def test_a_run_that_does_not_end_well_is_told_as_such_and_its_error_is_raised(
    project: Path, tmp_path: Path, error: BaseException, end: End
) -> None:
    def broken(texts: object) -> None:
        raise error

    plan = toy.plan(project)
    toy.engine_of(plan).hook = broken
    sink = Listening()
    tracker = Tracker(sink)
    with tracked_by(tracker), pytest.raises(type(error), match="no power"):
        run(plan, Store(tmp_path / "runs"), EngineSlot())
    assert tracker.close() is None
    assert sink.heard[-1] == ("finish", {}, end)


def test_a_course_has_the_names_of_the_trainers_own_callbacks() -> None:
    sink = Listening()
    tracker = Tracker(sink)
    log_training(1, {"loss": 9.0})  # nobody listens
    with tracked_by(tracker):
        log_training(4, {"loss": 1.5, "learning_rate": 0.1, "epoch": 0.5})
        log_training(4, {"eval_accuracy": 0.25, "eval_loss": 1.2, "epoch": 0.5})
        log_training(4, {"train_runtime": 3.0, "total_flos": 1e9, "epoch": 1.0})
        log_training(5, {"loss": float("nan"), "note": "x"})
    tracker.close()
    assert sink.heard == [
        ("log", 4, {"train/loss": 1.5, "train/learning_rate": 0.1, "train/epoch": 0.5}),
        ("log", 4, {"eval/accuracy": 0.25, "eval/loss": 1.2}),
    ]


def test_a_tracker_that_fails_fails_no_run_and_is_asked_no_more(project: Path, tmp_path: Path) -> None:
    def down() -> None:
        raise ConnectionError("no route to host/x or /home/me/x\nand more")

    sink = Listening(down)
    result, problem = tracked_run(project, sink, tmp_path)
    assert result.computed
    assert problem == "ConnectionError: no route to host/x or /home/me/x"
    assert sink.heard == [("finish", {}, End.STOPPED)]  # what it has is kept, and it is asked no more


def test_a_tracker_that_hangs_is_not_waited_for(project: Path, tmp_path: Path) -> None:
    forever = threading.Event()
    tracker = Tracker(Listening(lambda: [None, forever.wait()][0]))
    with tracked_by(tracker):
        assert run(toy.plan(project), Store(tmp_path / "runs"), EngineSlot()).computed
    assert tracker.close(patience=0.05) == "no answer in 0.05 s"
    forever.set()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for track in Track:
        with pytest.raises(UserError, match=f"needs the library '{track}'") as caught:
            open_sink(track, tmp_path)
        assert f"pip install {track}" in caught.value.hint


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Of one run, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_for_real_and_a_resumed_run_goes_on_in_the_same_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    first = open_sink(Track.TENSORBOARD, tmp_path)
    first.start("toy.en.s0.abc", "toy", {"lang": "en", "options.lr": 0.5})
    for step in (10, 20, 30):
        first.log(step, {"train/loss": 1 / step})
    first.finish({}, End.STOPPED)  # interrupted; the last checkpoint was at step 10
    second = open_sink(Track.TENSORBOARD, tmp_path)
    second.start("toy.en.s0.abc", "toy", {"lang": "en", "options.lr": 0.5})
    for step in (20, 30, 40):
        second.log(step, {"train/loss": -1 / step})
    second.finish({"test/accuracy": 0.75}, End.DONE)
    folder = tmp_path / "tensorboard" / "toy" / "toy.en.s0.abc"
    found = scalars(folder)
    assert found["train/loss"] == [
        (step, pytest.approx(loss)) for step, loss in [(10, 0.1), (20, -0.05), (30, -1 / 30), (40, -0.025)]
    ]
    assert found["test/accuracy"] == [(40, 0.75)]
    events = EventAccumulator(str(folder))
    events.Reload()
    ((_, content),) = events.PluginTagToContent(metadata.PLUGIN_NAME).items()
    shown = metadata.parse_session_start_info_plugin_data(content).hparams
    assert shown["lang"].string_value == "en"
    assert shown["options.lr"].number_value == 0.5


def test_a_run_that_trains_nothing_keeps_the_curve_of_the_process_that_did(tmp_path: Path) -> None:
    """Ctrl-C while it predicted: the model comes from the cache."""
    pytest.importorskip("tensorboard")
    first = open_sink(Track.TENSORBOARD, tmp_path)
    first.start("toy.en.s0.abc", "toy", {"lang": "en"})
    for step in (10, 20):
        first.log(step, {"train/loss": 1 / step})
    first.finish({}, End.STOPPED)
    second = open_sink(Track.TENSORBOARD, tmp_path)
    second.start("toy.en.s0.abc", "toy", {"lang": "en"})
    second.finish({"test/accuracy": 0.75}, End.DONE)
    found = scalars(tmp_path / "tensorboard" / "toy" / "toy.en.s0.abc")
    assert found == {"train/loss": [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))], "test/accuracy": [(20, 0.75)]}


def test_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TENSORBOARD_LOGGING_DIR",
        "WANDB_MODE",
        "WANDB_PROJECT",
        "WANDB_DIR",
        "MLFLOW_TRACKING_URI",
        "TRACKIO_PROJECT",
    ):
        monkeypatch.delenv(name, raising=False)
    results = Path("my results")
    assert where(Track.TENSORBOARD, results) == "tensorboard --logdir 'my results/tensorboard'"
    assert where(Track.TRACKIO, results) == "trackio show --project bench"
    assert "file:///" in where(Track.MLFLOW, results)
    assert where(Track.WANDB, results) == "the project bench of wandb"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb sync 'my results/wandb'/offline-run-*" in where(Track.WANDB, results)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:key@host")
    assert "key" not in where(Track.MLFLOW, results)
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    assert where(Track.TENSORBOARD, results) == f"tensorboard --logdir {tmp_path}"


class Called:
    """A stand-in for a library's object: keeps the calls made to it, and returns itself."""

    def __init__(self, calls: list[Any], name: str) -> None:
        self.calls, self.name = calls, name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Called(self.calls, f"{self.name}.{name}")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls.append((self.name, arguments, options))
        return self


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """`installed(name, contents)`: a module of that name, whatever is installed."""

    def install(name: str, contents: dict[str, Any]) -> None:
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)

    return install


def told(sink: Any) -> None:
    """A run of two steps."""
    sink.start("toy.en.s0.0123456789", "toy", {"lang": "en"})
    sink.log(10, {"train/loss": 0.5})
    sink.finish({"test/accuracy": 0.75}, End.DONE)


def test_wandb_is_called_as_documented_and_told_not_to_look_around(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls are those that wandb 0.31 takes (tried with it, offline and without a network)."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    calls: list[Any] = []
    installed("wandb", {"Settings": lambda **options: options, "init": Called(calls, "init")})
    told(open_sink(Track.WANDB, tmp_path))
    (_, _, init), *rest = calls
    settings = init.pop("settings")
    assert init == {
        "project": "bench",
        "dir": str(tmp_path),
        "id": "0123456789",
        "name": "toy.en.s0.0123456789",
        "group": "toy",
        "config": {"lang": "en"},
        "resume": "allow",
        "reinit": "create_new",
    }
    off = ("disable_git", "disable_code", "x_disable_meta", "x_disable_stats", "x_disable_machine_info", "silent")
    assert all(settings[name] is True for name in off)
    assert (settings["console"], settings["x_save_requirements"]) == ("off", False)
    assert ("init.log", ({"train/loss": 0.5, "train/global_step": 10},), {}) in rest
    assert ("init.summary.update", ({"test/accuracy": 0.75},), {}) in rest
    assert rest[-1] == ("init.finish", (), {"exit_code": 0})
    for end, code in ((End.FAILED, 1), (End.STOPPED, 255), (End.PRUNED, 0)):
        sink = open_sink(Track.WANDB, tmp_path)
        sink.start("toy.en.s0.0123456789", "toy", {})
        sink.finish({}, end)
        assert calls[-1] == ("init.finish", (), {"exit_code": code})


def test_trackio_is_called_as_documented_and_prints_nothing(
    installed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls are those that trackio 0.43 takes (tried with it). Its prints would stand in the midst of our JSON."""
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    calls: list[Any] = []
    module: dict[str, Any] = {"recorder": Called(calls, "init")}
    exec("def init(*words, **options):\n    print('* Trackio')\n    return recorder(*words, **options)\n", module)
    installed("trackio", {})
    module.pop("__builtins__")
    vars(sys.modules["trackio"]).update(module)
    # a function sees the globals of its own module
    init = sys.modules["trackio"].init
    vars(sys.modules["trackio"])["init"] = type(init)(init.__code__, vars(sys.modules["trackio"]))
    told(open_sink(Track.TRACKIO, tmp_path))
    assert capsys.readouterr().out == ""
    options = {"resume": "allow", "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    assert calls == [
        ("init", ("bench",), {"name": "toy.en.s0.0123456789", "group": "toy", "config": {"lang": "en"}, **options}),
        ("init.log", ({"train/loss": 0.5},), {"step": 10}),
        ("init.log", ({"test/accuracy": 0.75},), {"step": 10}),
        ("init.finish", (), {}),
    ]
    again = open_sink(Track.TRACKIO, tmp_path)
    again.start("toy.en.s0.0123456789", "toy", {"lang": "en"})
    again.finish({"test/accuracy": 0.75}, End.DONE)
    assert calls[-2] == ("init.log", ({"test/accuracy": 0.75},), {"step": None})  # after the last one that it knows


class Client:
    """MLflow's, as far as it is used; `runs` outlive it, as a server's do."""

    runs: ClassVar[dict[str, Any]] = {}

    def __init__(self, store: str) -> None:
        self.store = store

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7") if name == "bench-toy" else None

    def search_runs(self, experiments: list[str], filter_string: str, max_results: int) -> list[Any]:
        assert experiments == ["7"]
        found = [key for key, value in self.runs.items() if f"tags.`bench.run` = '{value['name']}'" == filter_string]
        return [SimpleNamespace(info=SimpleNamespace(run_id=key)) for key in found[:max_results]]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        assert tags == {"bench.run": run_name, "bench.task": "toy"}
        self.runs["r"] = {"name": run_name, "params": [], "metrics": [], "status": "RUNNING", "store": self.store}
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.runs[run_id]["params"] += [tuple(param) for param in params]
        self.runs[run_id]["metrics"] += [(name, value, step) for name, value, _, step in metrics]

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=step) for name, _, step in self.runs[run_id]["metrics"] if name == key]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status


def test_mlflow_is_called_as_documented_and_a_repeated_run_is_the_same_one(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls are those that mlflow 3.17 takes (tried with it, with a `file:` store and without a network)."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(Client, "runs", {})
    installed("mlflow", {"MlflowClient": Client})
    installed("mlflow.entities", {"Param": lambda *words: words, "Metric": lambda *words: words})
    told(open_sink(Track.MLFLOW, tmp_path))
    told(open_sink(Track.MLFLOW, tmp_path))
    (found,) = Client.runs.values()
    assert found["store"] == (tmp_path / "mlruns").as_uri()
    assert found["params"] == [("lang", "en")]
    assert found["metrics"] == [("train/loss", 0.5, 10), ("test/accuracy", 0.75, 10)] * 2
    assert found["status"] == "FINISHED"
    for end, status in ((End.STOPPED, "KILLED"), (End.FAILED, "FAILED"), (End.PRUNED, "KILLED"), (End.DONE, "FINISHED")):
        sink = open_sink(Track.MLFLOW, tmp_path)
        sink.start("toy.en.s0.0123456789", "toy", {"lang": "en"})
        sink.finish({"test/accuracy": 0.5} if end is End.DONE else {}, end)
        assert found["status"] == status
    assert found["metrics"][-1] == ("test/accuracy", 0.5, 10), "nothing is trained now, and the curve ends at 10"
