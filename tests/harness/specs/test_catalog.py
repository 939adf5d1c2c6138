"""Names become files: built in, the user's own, a plugin's."""

from __future__ import annotations

import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.core.errors import PromptError, SpecError, UnknownName, UserError
from harness.core.types import Example, LabelKind, LabelSpace
from harness.models.checkpoints import Checkpoint
from harness.parsing.rendering import Renderer, some_shots
from harness.specs.backend_specs import engine_class, open_engine
from harness.specs.catalog import Catalog, Kind, builtin_folders
from harness.specs.prompts import load_prompt

ROOT = Path(__file__).resolve().parents[3]
PLUGIN: dict[str, Path] = {}
SPACES = {
    LabelKind.ORDINAL: LabelSpace(LabelKind.ORDINAL, ("bad", "fair", "good")),
    LabelKind.NOMINAL: LabelSpace(LabelKind.NOMINAL, ("sport", "politics")),
    LabelKind.MULTILABEL: LabelSpace(LabelKind.MULTILABEL, ("joy", "fear")),
}


def plugin_folders() -> dict[str, Path]:
    return PLUGIN


def files(folder: str, suffix: str) -> list[str]:
    return sorted(path.name.removesuffix(suffix) for path in (ROOT / folder).glob("*" + suffix))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# What is built in


@pytest.mark.parametrize("name", files("backends", ".yaml"))
def test_built_in_backends_load_and_their_options_fit_their_engine(name: str, tmp_path: Path) -> None:
    spec = Catalog(tmp_path).backend(name)
    assert (spec.name, bool(spec.description)) == (name, True)
    model_is = engine_class(spec.engine).model_is
    assert model_is == "name" or (model_is == "nothing") == (spec.model is None)
    # Only servers cost by the token; a name that changes its meaning, and with it its price, has none.
    assert (spec.price is not None) == (model_is == "name" and not (spec.model or "").endswith("-latest"))
    checkpoint = Checkpoint(tmp_path, "path", "tiny", "0") if model_is == "checkpoint" else None
    assert open_engine(spec, checkpoint).batch_size() >= 1


def test_only_a_server_needs_the_prices(tmp_path: Path) -> None:
    write(tmp_path / "prices.yaml", "hardware: {x: 3}")
    write(tmp_path / "backends" / "odd.yaml", "engine: not-installed\nmodel: m")
    catalog = Catalog(tmp_path)
    assert [catalog.backend(name).price for name in ("tfidf", "bert", "mistral", "odd")] == [None] * 4
    with pytest.raises(SpecError, match=r"prices\.yaml:1"):
        catalog.backend("gpt-4.1-mini")


@pytest.mark.parametrize("name", files("tasks", ".yaml"))
def test_built_in_tasks_load(name: str, tmp_path: Path) -> None:
    task = Catalog(tmp_path).task(name)
    assert task.name == name
    assert task.labels.answers is None or len(task.label_space) > 1


@pytest.mark.parametrize("name", files("prompts", ".j2"))
def test_built_in_prompts_load_and_render_for_each_kind_that_they_name(name: str, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    base, _, lang = name.partition(".")
    prompt = catalog.prompt(base, lang or "en")
    assert (prompt.name, prompt.lang) == (base, lang or None)
    for kind in prompt.spec.kinds:
        space = SPACES[kind]
        labels = [(index,) if kind is LabelKind.MULTILABEL else index for index in range(len(space))]
        rows = [Example(f"{n}", f"row {n}", label, "en") for n, label in enumerate(labels * 8)]
        shots = some_shots(prompt.spec, rows, space, 0)
        assert "{{ 7*7 }}" in Renderer(prompt, space, lang or "en", shots).render("{{ 7*7 }}")[-1]["content"]


@pytest.mark.parametrize(
    ("kind", "folder", "suffix"),
    [
        ("task", "tasks", ".yaml"),
        ("backend", "backends", ".yaml"),
        ("recipe", "recipes", ".yaml"),
        ("reported", "results/reported", ".yaml"),
    ],
)
def test_built_in_names_are_the_files(kind: Kind, folder: str, suffix: str, tmp_path: Path) -> None:
    assert Catalog(tmp_path).names(kind) == files(folder, suffix)
    assert Catalog(ROOT).names(kind) == files(folder, suffix)  # the project that is bench itself: no name stands twice


def test_the_variants_of_a_prompt_are_no_names(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    assert "strict" in catalog.names("prompt")
    assert not [name for name in catalog.names("prompt") if "." in name]
    assert catalog.variants("strict") == ["de", "es", "fr", "ja", "zh"]
    assert catalog.variants("topic") == []
    assert catalog.prompt("strict", "ja").path.name == "strict.ja.j2"
    assert catalog.prompt("strict", "it").path.name == catalog.prompt("strict").path.name == "strict.j2"


def test_data_folders_inside_a_wheel_are_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "harness"
    shutil.copytree(ROOT / "tasks", package / "tasks_data", ignore=shutil.ignore_patterns("*.jsonl"))
    monkeypatch.setattr("harness.specs.catalog.__file__", str(package / "specs" / "catalog.py"))
    assert builtin_folders() == {
        "tasks": package / "tasks_data",
        "prompts": package / "prompts_data",
        "recipes": package / "recipes_data",
        "results/reported": package / "reported_data",
        "backends": tmp_path / "backends",
    }


# The user's own


def test_files_in_the_users_folders_are_names(tmp_path: Path) -> None:
    write(tmp_path / "backends" / "mine.yaml", "engine: baseline\noptions: {classifier: tfidf}\n")
    shutil.copy(ROOT / "tasks" / "reviews_demo.yaml", write(tmp_path / "tasks" / "mine.yaml", ""))
    write(tmp_path / "prompts" / "mine.j2", "---\ndescription: d\nparser: integer\n---\n{{ text }}")
    write(tmp_path / "recipes" / "mine.yaml", "description: d\nruns: [{name: a, task: mine, backend: mine}]\n")
    figure = "{model: m, task: mine, metric: accuracy, value: 0.5}"
    write(tmp_path / "results" / "reported" / "mine.yaml", f"source: s\nfigures: [{figure}]\n")
    catalog = Catalog(tmp_path)
    assert catalog.recipe("mine").runs[0].name == "a"
    assert catalog.reported("mine").figures[0].value == 0.5
    assert catalog.backend("mine").options == {"classifier": "tfidf"}
    assert catalog.task("mine").folder == tmp_path / "tasks"
    assert catalog.prompt("mine", "en").spec.shots == 0
    kinds: tuple[Kind, ...] = ("task", "backend", "prompt", "recipe", "reported")
    for kind in kinds:
        assert "mine" in catalog.names(kind)
    assert "mine" not in Catalog(tmp_path / "elsewhere").names("task")


def test_a_new_file_is_seen_at_once(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    assert "late" not in catalog.names("backend")
    write(tmp_path / "backends" / "late.yaml", "engine: baseline\n")
    assert catalog.backend("late").engine == "baseline"


def test_a_variant_of_a_built_in_prompt(tmp_path: Path) -> None:
    text = (ROOT / "prompts" / "strict.j2").read_text(encoding="utf-8")
    write(tmp_path / "prompts" / "strict.it.j2", text.replace("Review:", "Recensione:"))
    catalog = Catalog(tmp_path)
    assert "Recensione:" in catalog.prompt("strict", "it").body
    assert catalog.variants("strict") == ["de", "es", "fr", "it", "ja", "zh"]
    assert "strict.it" not in catalog.names("prompt")


def test_a_variant_that_measures_something_else_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "prompts" / "strict.it.j2", "---\ndescription: d\nparser: label\nkinds: [ordinal]\n---\n{{ text }}")
    with pytest.raises(PromptError, match="'parser' differs from"):
        Catalog(tmp_path).prompt("strict", "it")
    assert load_prompt(tmp_path / "prompts" / "strict.it.j2").lang == "it"  # alone it could not be told


@pytest.mark.parametrize(
    ("kind", "folder", "file"),
    [
        ("task", "tasks", "reviews_demo.yaml"),
        ("backend", "backends", "tfidf.yaml"),
        ("prompt", "prompts", "strict.ja.j2"),
        ("recipe", "recipes", "mbert-amazon.yaml"),
        ("reported", "results/reported", "mbert-amazon.yaml"),
    ],
)
def test_a_name_that_stands_twice_is_an_error_that_names_both_files(tmp_path: Path, kind: Kind, folder: str, file: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / folder / file, tmp_path / folder / file)
    with pytest.raises(UserError) as caught:
        Catalog(tmp_path).names(kind)
    assert str(ROOT / folder / file) in str(caught.value)
    assert str(tmp_path / folder / file) in str(caught.value)


def test_a_broken_file_only_stops_who_asks_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "backends" / "broken.yaml", "engine: [")
    catalog = Catalog(tmp_path)
    assert catalog.backend("tfidf").engine == "baseline"
    with pytest.raises(SpecError) as caught:
        catalog.backend("broken")
    assert str(path) in str(caught.value)


# Plugins, and names that are not there


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution with an entry point of its own; the built-in one stands beside it."""
    folder = tmp_path / "plugin"
    write(folder / "extra.yaml", "engine: baseline\ndescription: from a plugin\n")
    points = [
        EntryPoint("builtin", "harness.specs.catalog:builtin_folders", "bench.catalog"),
        EntryPoint("more", f"{__name__}:plugin_folders", "bench.catalog"),
    ]
    monkeypatch.setattr("harness.specs.catalog.entry_points", lambda *, group: points if group == "bench.catalog" else [])
    monkeypatch.setitem(PLUGIN, "backends", folder)
    return folder


def test_a_plugin_adds_names(plugin: Path, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "project")
    assert catalog.backend("extra").description == "from a plugin"
    assert "tfidf" in catalog.names("backend")
    assert "strict" in catalog.names("prompt")  # the plugin has none


def test_a_plugin_can_not_take_a_built_in_name(plugin: Path, tmp_path: Path) -> None:
    write(plugin / "tfidf.yaml", "engine: baseline\n")
    with pytest.raises(UserError, match="Two backends are named 'tfidf'"):
        Catalog(tmp_path / "project").backend("bert")


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("recipe", "mbert-amazn", "mbert-amazon"),
        ("backend", "mistrl", "mistral"),
        ("task", "reviews-demo", "reviews_demo"),
        ("prompt", "strikt", "strict"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(kind: Kind, name: str, near: str, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    with pytest.raises(UnknownName) as caught:
        getattr(catalog, kind)(name)
    assert f"There is no {kind} named {name!r}." in str(caught.value)
    assert f"Did you mean {near}" in caught.value.hint
    assert "strict.ja" not in caught.value.hint


@pytest.mark.parametrize("name", ["../backends/tfidf", "", ".", "strict.j2"])
def test_names_are_no_paths(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        Catalog(tmp_path).backend(name)
    with pytest.raises(UnknownName):
        Catalog(tmp_path).prompt(name)
