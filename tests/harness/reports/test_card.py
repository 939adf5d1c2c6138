"""A model card: what it tells, that it never guesses, and that the hub's own library reads from it what was measured."""

from __future__ import annotations

import html
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import boards
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from markdown_it import MarkdownIt

from harness.core.errors import MissingExtra, RunError, UserError
from harness.core.types import Example, LabelKind
from harness.data.rows import fingerprint
from harness.models.packaged import PACKAGED
from harness.records.store import Store
from harness.reports.cards import metadata
from harness.reports.cards.card import make_card
from harness.reports.cards.facts import ModelFacts, read_facts
from harness.specs.catalog import Catalog

HOSTILE = "<script>|`{{ 7*7 }}`\n```\n# x"
OPTIONS = {"head": "softmax", "max_length": 64, "threshold": None, "device": "auto", "predict": {}, "train": {"lr": 0.001}}
HUB_TASK = """\
description: Kettles, judged.
source: {hub: {id: kettles/reviews, config: "{lang}", revision: 5503434ddd753f426f4b38109466949a1217c2bb}}
labels: {kind: ordinal, names: [bad, fair, good]}
languages: [en, de, fr]
licence: CC0-1.0
note: Two | columns.
reference_urls: ["https://example.org/kettles"]
"""
TRUTH = [0, 1, 2] * 20
ANSWERS = [0, 1, 1] * 20


def backend(**changes: Any) -> dict[str, Any]:
    return {
        "name": "kettle-bert",
        "engine": "encoder",
        "model": "org/bert",
        "revision": "0" * 40,
        "options": OPTIONS,
        **changes,
    }


def train(**changes: Any) -> dict[str, Any]:
    rows = {"train_rows": "t" * 64, "validation_rows": "v" * 64}
    return {"version": 2, "langs": ["en"], "train_count": 90, **rows, "chosen_by": "accuracy", **changes}


def from_hub(**changes: Any) -> dict[str, Any]:
    hub = {"id": "kettles/reviews", "config": "{lang}", "revision": "5503434ddd753f426f4b38109466949a1217c2bb", "split": "test"}
    return {"source": "hub", "hub": {**hub, **changes}, "split_rows": 60}


LOCAL = {"source": "data", "hub": None, "split_rows": 60}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "finished": "2026-11-22T11:46:45+00:00",
        "limit": None,
        "rows_from": from_hub(),
        "settings": {"train.lr": 0.001},
        "overlap": {"threshold": 0.8, "exact": 1, "near": 2, "by": {"validation": {"rows": 30, "exact": 0, "near": 3}}},
        "dates": None,
        "machine": {"cpu": "Abacus", "cores": 2, "memory_gib": 4, "gpu": None},
        "versions": {"torch": "1"},
        "timing": {"rows_per_second": 10.0, "batch_size": 8},
        "training": {
            "steps": 20,
            "planned_steps": 20,
            "train_loss": 0.5,
            "seconds": 9.0,
            "best": {"accuracy": 0.75, "step": 10},
            "validation_rows": 30,
            "evaluations": [
                {"step": 10, "epoch": 1.0, "loss": 0.9, "accuracy": 0.75, "macro_f1": 0.7, "mae": 0.25, "qwk": 0.8},
                {"step": 20, "epoch": 2.0, "loss": 0.8, "accuracy": 0.5, "macro_f1": 0.4, "mae": 0.5, "qwk": 0.6},
            ],
        },
        **changes,
    }


def record(store: Store, lang: str = "en", **changes: Any) -> str:
    given: dict[str, Any] = {"manifest": manifest(), "backend": backend(), "train": train(), "lang": lang, **changes}
    own, answers, truth = given.pop("backend"), given.pop("answers", ANSWERS), given.pop("truth", TRUTH)
    return boards.record(store, own, answers, truth, **given)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "tasks").mkdir(parents=True)
    (tmp_path / "project" / "tasks" / "toy.yaml").write_text(HUB_TASK)
    return tmp_path / "project"


def facts(store: Store, name: str, project: Path) -> ModelFacts:
    return read_facts(store, name, Catalog(project))


def card(store: Store, name: str, project: Path, **options: Any) -> dict[str, str]:
    return make_card(facts(store, name, project), **options)


def sure(index: int) -> tuple[float, ...]:
    answer = ANSWERS[index]
    return tuple(0.9 if label == answer else 0.05 for label in range(3))


def test_the_hubs_library_reads_what_was_measured(store: Store, project: Path) -> None:
    names = [record(store, lang, probabilities=sure) for lang in ("en", "de")]
    made = card(store, names[0], project, repository="me/kettles", licence="mit")
    data = ModelCard(made["README.md"]).data
    assert (data.language, data.license, data.base_model, data.library_name) == (["en"], "mit", "org/bert", "transformers")
    assert (data.pipeline_tag, data.datasets, data.model_name) == ("text-classification", ["kettles/reviews"], "kettles")
    read = {(result.dataset_config, result.metric_name.split(" (")[0]): result for result in data.eval_results or []}
    for name in names:
        metrics, lang = store.record(name).metrics, store.record(name).identity.lang
        for metric, title in (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("mae", "MAE"), ("qwk", "QWK")):
            result = read.pop((lang, title))
            assert result.metric_value == metrics.values[metric].value
            assert (result.dataset_type, result.dataset_split, result.verified) == ("kettles/reviews", "test", None)
            assert result.dataset_revision == "5503434ddd753f426f4b38109466949a1217c2bb"
    assert read == {}
    entries = parse_eval_result_entries(yaml.safe_load(made[".eval_results/toy.yaml"]))
    assert {entry.task_id: entry.value for entry in entries} == {
        store.record(name).identity.lang: store.record(name).metrics.values["accuracy"].value for name in names
    }
    assert all(entry.dataset_id == "kettles/reviews" and "n = 60" in (entry.notes or "") for entry in entries)
    assert ModelCard(str(ModelCard(made["README.md"]))).data.to_dict() == data.to_dict()


@pytest.mark.slow
def test_all_runs_of_the_same_trained_model_are_in_it_and_no_other(store: Store, project: Path) -> None:
    name = record(store)
    same = [
        record(store, "de"),
        record(store, split="validation", manifest=manifest(rows_from=from_hub(split="validation"))),
        record(store, decision="median"),
        record(store, backend=backend(name="renamed", dtype="bfloat16")),
    ]
    record(store, seed=1, answers=TRUTH)
    record(store, train=train(train_rows="u" * 64))
    record(store, backend=backend(options={**OPTIONS, "max_length": 32}))
    made = facts(store, name, project)
    assert {run.run_id for run in made.runs} == {name, *same}
    assert made.runs[0].identity.split == "test"
    assert [(run.identity.seed, run.score.value) for run in made.seeds] == [(1, 1.0)]
    readme = make_card(made)["README.md"]
    assert all(run.run_id.rpartition(".")[2] in readme for run in made.runs)
    assert "The same training with seed 1 gave accuracy 1.000 on the en test rows." in readme
    assert "median, torch" in readme
    # One figure for a language and split, all given in one way.
    results = ModelCard(readme).data.eval_results or []
    assert {(result.dataset_config, result.dataset_split) for result in results} == {
        ("en", "test"),
        ("de", "test"),
        ("en", "validation"),
    }
    assert len(results) == 3 * 4


def test_splits_have_files_of_their_own(store: Store, project: Path) -> None:
    name = record(store)
    record(store, split="validation", manifest=manifest(rows_from=from_hub(split="validation")))
    assert set(card(store, name, project)) == {"README.md", ".eval_results/toy.yaml", ".eval_results/toy-validation.yaml"}


def test_only_a_commit_is_told_as_a_revision(store: Store, project: Path) -> None:
    """The name of a branch says nothing of what was tested: it moves."""
    made = card(store, record(store, manifest=manifest(rows_from=from_hub(revision="main"))), project)
    assert {result.dataset_revision for result in ModelCard(made["README.md"]).data.eval_results or []} == {None}
    (entry,) = parse_eval_result_entries(yaml.safe_load(made[".eval_results/toy.yaml"]))
    assert entry.dataset_revision is None


def test_damaged_records_of_other_runs_are_left_out_and_named(store: Store, project: Path) -> None:
    name = record(store)
    others = [record(store, "de"), record(store, seed=1), boards.record(store, "llm", ANSWERS, TRUTH, prompt=boards.prompt())]
    for other, content in zip(others, ("{", "[]", '{"identity": {"train": 1}}'), strict=True):
        (store.root / other / "run.json").write_text(content)
    made = facts(store, name, project)
    assert made.damaged == tuple(sorted(others))
    assert [run.run_id for run in made.runs] == [name]
    assert made.seeds == ()
    (store.root / name / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=name):
        facts(store, name, project)


def test_of_two_runs_on_the_same_split_that_which_was_asked_for_is_told(store: Store, project: Path) -> None:
    few = record(store, answers=ANSWERS[:30], truth=TRUTH[:30], manifest=manifest(limit=30))
    many = record(store)
    for name in (few, many):
        results = ModelCard(card(store, name, project)["README.md"]).data.eval_results or []
        assert results[0].metric_value == store.record(name).metrics.values["accuracy"].value
        assert len(results) == 4
        assert f"n = {'30 of 60' if name == few else '60'})" in results[0].metric_name


def test_the_card_says_how_many_rows_of_the_split_were_used(store: Store, project: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({}, "All 60 of the en test rows of the task were used.", "60"),
        (
            {"limit": 60, "rows_from": {**from_hub(), "split_rows": 5000}},
            "Of 5000 of the en test rows, 60 were used",
            "60 of 5000",
        ),
        ({"limit": 60}, "All 60 of the en test rows of the task", "60"),
        ({"limit": 60, "rows_from": None}, "At most 60 of the en test rows were used", "60, by --limit"),
    )
    for seed, (changes, said, used) in enumerate(cases):
        made = card(store, record(store, manifest=manifest(**changes), seed=seed), project)
        assert said in made["README.md"]
        assert f"| en | test | {used} |" in made["README.md"]
        for entries in (yaml.safe_load(text) for path, text in made.items() if path != "README.md"):
            assert f"n = {used})" in entries[0]["notes"]


@pytest.mark.parametrize("old", [True, False])
def test_figures_on_local_rows_are_not_said_to_be_on_the_hubs_data_set(store: Store, project: Path, old: bool) -> None:
    given = manifest(rows_from=LOCAL)
    if old:
        del given["rows_from"]
    local, hub = record(store, manifest=given), record(store, "de")
    made = card(store, local, project)
    data = ModelCard(made["README.md"]).data
    assert data.datasets is None  # of the training, which the local run's record tells of
    assert {(result.dataset_config, result.dataset_type) for result in data.eval_results or []} == {
        ("en", "bench:toy"),
        ("de", "kettles/reviews"),
    }
    entries = parse_eval_result_entries(yaml.safe_load(made[".eval_results/toy.yaml"]))
    assert [entry.task_id for entry in entries] == ["de"]
    said = "The record does not say where the rows came from:" if old else "The rows came from local files (`--data`), not from"
    assert f"{said} [kettles/reviews]" in made["README.md"]
    assert "The task's file says of its own data:\nLicence of the data: CC0-1.0." in made["README.md"]
    assert f"| en | test | 60 | {'unknown' if old else 'local files'} |" in made["README.md"]
    assert "| de (not trained on) | test | 60 | the hub |" in made["README.md"]
    assert ModelCard(card(store, hub, project)["README.md"]).data.datasets == ["kettles/reviews"]
    (store.root / hub).rename(project / "elsewhere")
    assert list(card(store, local, project)) == ["README.md"]


def test_what_the_task_divides_itself_is_no_split_of_the_hub(store: Store, project: Path) -> None:
    made = card(store, record(store, manifest=manifest(rows_from=from_hub(split=None))), project)
    assert {result.dataset_split for result in ModelCard(made["README.md"]).data.eval_results or []} == {None}
    assert "divided by the task's file" in made["README.md"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(made[".eval_results/toy.yaml"]))
    assert "en, test rows as the task divides them" in str(entry.notes)
    named = card(store, record(store, "de", manifest=manifest(rows_from=from_hub(split="dev"))), project)
    assert "dev" in {result.dataset_split for result in ModelCard(named["README.md"]).data.eval_results or []}


def test_a_fingerprint_is_said_to_be_of_all_that_it_digests(store: Store, project: Path) -> None:
    row = Example("1", "text", 0, "en")
    changed = [replace(row, id="2"), replace(row, text="x"), replace(row, label=1), replace(row, lang="de")]
    assert len({fingerprint([other]) for other in [row, *changed]}) == 5
    assert "a digest of ids, languages, labels and texts" in card(store, record(store), project)["README.md"]


def test_the_training_log_marks_the_checkpoint_that_was_kept(store: Store, project: Path) -> None:
    readme = card(store, record(store), project)["README.md"]
    assert "| ★ | 10 | 1 | 0.9 | 0.750 | 0.700 | 0.250 | 0.800 |" in readme
    assert "|  | 20 | 2 | 0.8 | 0.500 | 0.400 | 0.500 | 0.600 |" in readme
    none = manifest(training={**manifest()["training"], "evaluations": [], "best": None, "validation_rows": 0})
    readme = card(store, record(store, "de", manifest=none), project)["README.md"]
    assert "★" not in readme
    assert "the last step is the model" in readme


def test_limitations_follow_from_the_records(store: Store, project: Path) -> None:
    dates = {"published": "2015", "training_cutoff": "2018-10", "may_have_read": True}
    name = record(store, manifest=manifest(dates=dates), probabilities=sure)
    record(store, "de", manifest=manifest(overlap=None))
    readme = card(store, name, project)["README.md"]
    for said in (
        "No training rows in de:",
        "languages other than en and de is unknown.",
        "few rows (90)",
        "Weak evidence on the en test rows: only 60 rows.",
        "never predicts on the en test rows: “good” (20 rows).",
        "90% on average, with an accuracy of 67% (95% interval 54% to 77%, n = 60): overconfident.",
        "among the en test rows (n = 60): 1 exact, 2 near.",
        "rows that chose the checkpoint among the en test rows: 0 exact, 3 near.",
        "Duplicates of training rows among the de test rows: not counted",
        "it may have read them",
        "truncated to 64 tokens.",
    ):
        assert said in readme, said
    other = card(store, record(store, "fr", train=train(train_count=5000, langs=["en", "fr"])), project)["README.md"]
    assert "Trained on en, but not tested there." in other
    assert "few rows (" not in other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {**OPTIONS, "predict": {"runtime": "onnx"}}}, "Measured with onnx,"),
        ({"dtype": "bfloat16"}, "Measured in bfloat16;"),
        ({"dtype": "float32"}, ""),
    ],
)
def test_predictions_of_another_form_than_the_weights_are_named(
    changes: dict[str, Any], said: str, store: Store, project: Path
) -> None:
    plain, other = record(store), record(store, "de", backend=backend(**changes))
    readme = card(store, other, project)["README.md"]
    assert said in readme
    assert ("- Measured " in readme) == bool(said)
    made = facts(store, plain, project)
    assert {run.run_id for run in made.runs} == {plain, other}  # the weights are the same
    assert [run.run_id for run in made.runs_alike] == [plain]
    assert "column `predicted with`" in make_card(made)["README.md"]


@pytest.mark.parametrize(
    ("mode", "said"), [("windows", "overlapping windows were read"), ("head_tail", "the beginning and the end were read")]
)
def test_what_was_read_of_long_texts(mode: str, said: str, store: Store, project: Path) -> None:
    readme = card(store, record(store, backend=backend(options={**OPTIONS, "long_texts": mode})), project)["README.md"]
    assert said in readme
    assert "are truncated to" not in readme


def test_nothing_is_guessed(store: Store, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    name = record(store, backend=backend(model="packaged:thing", revision="a" * 64))
    (project / "tasks" / "toy.yaml").unlink()
    made = card(store, name, project)
    data = ModelCard(made["README.md"]).data.to_dict()
    assert {"license", "base_model"} & set(data) == set()
    assert data["datasets"] == ["kettles/reviews"]  # the record says so, whether or not the task's file is there
    assert "Its licence is unknown" in made["README.md"]
    assert "The task's file is not available" in made["README.md"]
    (project / "tasks" / "toy.yaml").write_text(HUB_TASK.replace("good", "other"))  # another task of that name
    assert "CC0-1.0" not in card(store, name, project)["README.md"]


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_base_model_has_its_true_name_and_licence(name: str, store: Store, project: Path) -> None:
    found, known = record(store, backend=backend(**boards.packaged(name))), PACKAGED[name]
    made = facts(store, found, project)
    assert (made.base_model, made.base_name, made.base_licence) == (known.base, known.base, known.licence)
    data = ModelCard(make_card(made)["README.md"]).data
    assert (data.base_model, data.license) == (known.base, known.licence)


@pytest.mark.parametrize("base", ["org/base", None])
def test_a_base_model_in_a_folder_is_not_named_as_another_one(base: str | None, store: Store, project: Path) -> None:
    told = manifest(checkpoint={"parameters": 5, "stored": "float32", "base": base})
    found = record(store, backend=backend(model="mine", revision="a" * 64), manifest=told)
    made = facts(store, found, project)
    readme = make_card(made)["README.md"]
    assert (made.base_model, made.base_name, made.base_licence) == (base, "mine", None)
    assert ModelCard(readme).data.base_model == base
    assert "not known" in paragraph(readme, "Base model: mine, a local folder")


@pytest.mark.parametrize(
    ("stored", "changes", "said", "unsaid"),
    [
        ("4-bit (Q4_0 blocks)", {}, ["4-bit (Q4_0 blocks)", "expanded"], ["computed"]),
        ("bfloat16", {"dtype": "float32", "precision": "fp32"}, ["bfloat16", "float32"], ["expanded"]),
        ("float32", {"dtype": "bfloat16", "precision": "bf16"}, ["training computed in bfloat16", "float32"], ["expanded"]),
        (None, {"dtype": "float32"}, ["predictions were computed in float32"], ["stored", "training computed"]),
        (None, {}, [], ["stored", "computed"]),
    ],
)
def test_the_precision_of_the_weights_is_told_as_far_as_it_is_known(
    stored: str | None, changes: dict[str, str], said: list[str], unsaid: list[str], store: Store, project: Path
) -> None:
    told = manifest(checkpoint={"parameters": None, "stored": stored, "base": "org/bert"})
    readme = card(store, record(store, backend=backend(**changes), manifest=told), project)["README.md"]
    about = paragraph(readme, "Base model: ")
    assert [words for words in said if words not in about] == []
    assert [words for words in unsaid if words in about] == []


def paragraph(readme: str, start: str) -> str:
    """The paragraph that begins with `start`."""
    (found,) = [part for part in readme.split("\n\n") if part.startswith(start)]
    return found


def test_the_licence_of_a_base_model_is_that_of_its_card(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = record(store)
    readme = tmp_path / "README.md"
    asked = []

    def cached(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file, revision))
        return str(readme)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    for text, licence in (("---\nlicense: mit\n---\n", "mit"), ("no front matter", None), ("---\n[\n---\n", None)):
        readme.write_text(text)
        assert facts(store, name, project).base_licence == licence
    assert set(asked) == {("org/bert", "README.md", "0" * 40)}
    readme.write_text("---\nlicense: mit\n---\n")
    assert ModelCard(card(store, name, project)["README.md"]).data.license == "mit"
    assert ModelCard(card(store, name, project, licence="gpl-3.0")["README.md"]).data.license == "gpl-3.0"


def test_the_recipe_tells_what_was_set_and_the_command_repeats_it(store: Store, project: Path) -> None:
    from backends._encoder_options import EncoderOptions

    options = EncoderOptions.model_validate({"max_length": 64, "train": {"lr": 0.001, "epochs": 3}}).model_dump(mode="json")
    name = record(
        store,
        backend=backend(options=options),
        manifest=manifest(settings={"train.lr": 0.001, "train.epochs": 3}, limit=60, model_given=True),
        seed=3,
        train=train(continued_from={"key": "k" * 20, "langs": ["fr"]}),
    )
    readme = card(store, name, project)["README.md"]
    assert "| max_length | 64 |\n| train.lr | 0.001 |\n" in readme.replace("| train.epochs | 3.0 |\n", "")
    assert "| train.epochs | 3.0 |" in readme  # asked for, though it is the default
    assert "train.batch_size=16" in readme
    command = next(line for line in readme.splitlines() if line.startswith("bench run --backend kettle-bert --task"))
    for part in ("--train-limit 90", "--seed 3", "--limit 60", "--set train.lr=0.001"):
        assert part in command
    assert f"--model org/bert@{'0' * 40}" in command
    assert "--continue-from RUN" in command


@pytest.mark.parametrize(
    ("kind", "head"), [(LabelKind.ORDINAL, "softmax"), (LabelKind.ORDINAL, "coral"), (LabelKind.MULTILABEL, "softmax")]
)
def test_hostile_names_change_nothing_but_their_cell(
    kind: LabelKind, head: str, store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "NAMES", ("bad", HOSTILE, "good"))
    answers: list[Any] = [(label,) for label in ANSWERS] if kind is LabelKind.MULTILABEL else list(ANSWERS)
    truth: list[Any] = [(label,) for label in TRUTH] if kind is LabelKind.MULTILABEL else list(TRUTH)
    own = backend(name="x", options={**OPTIONS, "head": head})
    name = record(store, "en", kind=kind, answers=answers, truth=truth, backend=own, task="t<b>|`")
    readme = card(store, name, project)["README.md"]
    assert ModelCard(readme).data.language == ["en"]
    tokens = MarkdownIt("commonmark").enable("table").parse(ModelCard(readme).text)
    inner = [child for token in tokens for child in token.children or []]
    assert not {token.type for token in [*tokens, *inner]} & {"html_block", "html_inline", "code_block", "image"}
    python, further, command = [token for token in tokens if token.type == "fence"]
    compile(python.content, "card", "exec")
    assert (python.info, further.info, command.info) == ("python", "sh", "sh")
    assert "t<b>|`" in shlex.split(command.content)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    sections = ["How to use it", "Labels", "Results", "Limitations", "Data", "Training", "Reproduction"]
    assert headings == ["x-t-b-en", *sections]
    cells = [token.content for token in tokens if token.type == "inline"]
    assert " ".join(HOSTILE.split()) in [html.unescape(cell) for cell in cells]


def test_what_has_no_card(store: Store, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompted = boards.record(store, "llm", ANSWERS, TRUTH, prompt=boards.prompt())
    with pytest.raises(UserError, match="prompts a model and trains none"):
        facts(store, prompted, project)
    baseline = record(store, backend=backend(name="tfidf", engine="baseline", options={}))
    with pytest.raises(UserError, match="the engine 'baseline'"):
        facts(store, baseline, project)
    monkeypatch.setattr(metadata.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="huggingface_hub"):
        card(store, record(store), project)
