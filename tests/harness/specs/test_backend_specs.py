"""From the name of an engine to its class, and from a backend's YAML to an engine with nothing loaded."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import toy

from backends.baseline import Baseline
from harness.core.errors import MissingExtra, SpecError, UnknownName, UserError
from harness.specs.backend_specs import BackendSpec, checkpoint_of, engine_class, load_backend, open_engine


def spec(**values: object) -> BackendSpec:
    return BackendSpec.model_validate({"name": "mine", **values})


def test_engines_come_from_entry_points(project: Path) -> None:
    assert engine_class("baseline") is Baseline
    assert engine_class("toy_model") is toy.ToyModel
    with pytest.raises(UnknownName, match="no engine named 'baselin'") as caught:
        engine_class("baselin")
    assert "Did you mean baseline" in caught.value.hint


def test_an_engine_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("far", "no_such_library.engine:Far", "bench.engines")]
    monkeypatch.setattr("harness.specs.backend_specs.entry_points", lambda *, group: points)
    with pytest.raises(UserError, match="The engine 'far' can't be imported: No module named 'no_such_library'"):
        engine_class("far")


def test_a_missing_library_is_found_before_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("engine: encoder\nmodel: org/name\n")
    monkeypatch.setattr("harness.specs.backend_specs.find_spec", lambda name: None)
    monkeypatch.setattr("harness.specs.backend_specs.resolve_checkpoint", lambda *wanted: pytest.fail("downloaded"))
    with pytest.raises(MissingExtra, match="The encoder engine needs the library 'torch'"):
        checkpoint_of(load_backend(path))


def test_the_yaml_of_a_backend(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("engine: baseline\noptions: {classifier: tfidf, c: 2}\nlanguages: [en]\n")
    found = load_backend(path)
    assert (found.name, found.engine, found.model) == ("mine", "baseline", None)
    assert open_engine(found, None).options == Baseline.Options(classifier="tfidf", c=2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engine: baseline\nname: other", ":2: unknown key 'name'"),
        ("engine: baseline\nmodell: x", ":2: unknown key 'modell'"),
        ("description: d", "'engine' is missing"),
    ],
)
def test_a_yaml_that_does_not_fit(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_backend(path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classifier": "tfidf", "C": 1}, "unknown key 'C'"),
        ({"classifier": "bayes"}, "'classifier': input should be 'majority' or 'tfidf', found 'bayes'"),
        ({"classifier": "tfidf", "c": 0}, "'c': input should be greater than 0, found 0"),
        ({}, "'classifier' is missing"),
    ],
)
def test_options_that_the_engine_does_not_have(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as caught:
        open_engine(spec(engine="baseline", options=options), None)
    assert "Backend 'mine', options: " in str(caught.value)
    assert words in str(caught.value)


def test_opening_an_engine_loads_nothing(project: Path) -> None:
    backend = spec(engine="toy_model", model=str(project / "weights" / "tiny"))
    checkpoint = checkpoint_of(backend)
    assert checkpoint is not None
    engine = open_engine(backend, checkpoint)
    assert isinstance(engine, toy.ToyModel)
    assert (engine.model, engine.loads) == (project / "weights" / "tiny", 0)


def test_only_engines_with_weights_need_a_model(project: Path) -> None:
    assert checkpoint_of(spec(engine="baseline")) is None
    assert checkpoint_of(spec(engine="toy_server")) is None
    with pytest.raises(UserError, match="Backend 'mine' names no model"):
        checkpoint_of(spec(engine="toy_model"))


@pytest.mark.parametrize("model", ["served/by-name@1", None])
def test_the_name_of_a_server_s_model_reaches_the_engine_as_it_is(project: Path, model: str | None) -> None:
    engine = open_engine(spec(engine="toy_server", model=model), None)
    assert isinstance(engine, toy.ToyServer)
    assert engine.model == model
