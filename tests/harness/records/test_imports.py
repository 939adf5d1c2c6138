"""Results of lm-evaluation-harness as runs of ours: pairing by row, answers read, figures computed anew."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from lm_eval_files import DATE, LABELS, NAMES, TEXTS, results_of, scored, write_evaluation, write_lines, write_project, written

from harness.core.errors import DataError, UserError
from harness.core.record import RowSource
from harness.data.rows import fingerprint, load_examples
from harness.records.entries import read_entry
from harness.records.frames import load_predictions, load_runs
from harness.records.lm_eval.importing import Imported, ImportRequest, import_lm_eval, parser_named
from harness.records.store import Store
from harness.reports.tables import read_tables
from harness.specs.catalog import Catalog

ROWS = range(len(TEXTS))
SURE = {0: (-1.0, -4.0, -5.0), 1: (-4.0, -1.0, -5.0), 2: (-4.0, -5.0, -1.0)}
"""Log-likelihoods by the label that is likeliest."""
RIGHT = [scored(n, SURE[LABELS[n]]) for n in ROWS]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def bring(project: Path, path: Path, **changes: Any) -> Imported:
    force = changes.pop("force", False)
    wanted = ImportRequest(**{"path": path, "task": "mood", "lang": "en", **changes})
    return import_lm_eval(wanted, Catalog(project), Store(project / "results" / "runs"), force=force)


def lines_of(found: Imported) -> list[dict[str, Any]]:
    return Store(found.folder.parent).predictions(found.record.run_id)


def test_choices_become_labels_and_probabilities(project: Path) -> None:
    samples = [*RIGHT[:5], scored(5, (-2.0, -3.0, -1.0))]  # the last one wrong: good for bad
    reported = {"mood_mc": {"acc,none": 5 / 6, "acc_stderr,none": 0.1, "acc_norm,none": 0.5, "acc,other": 0.1}}
    found = bring(project, write_evaluation(project / "out", {"mood_mc": samples}, results_of(reported)))
    records = lines_of(found)
    assert [record["label"] for record in records] == [0, 1, 2, 2, 1, 2]
    total = sum(math.exp(x) for x in (-2, -3, -1))
    assert records[5]["probabilities"] == [float(f"{math.exp(x) / total:.6g}") for x in (-2, -3, -1)]
    assert found.record.metrics.values["accuracy"].value == pytest.approx(5 / 6)
    assert found.record.imported.reported == {"acc": pytest.approx(5 / 6), "acc_norm": 0.5}
    ((ours, value, theirs, other),) = found.compared
    assert (ours, theirs) == ("accuracy", "acc")
    assert value == other == pytest.approx(5 / 6)
    assert found.record.imported.paired_by == {"id": 6}


def test_the_record_is_a_run_of_the_board_on_the_rows_of_the_task(project: Path) -> None:
    found = bring(project, write_evaluation(project / "out", {"mood_mc": RIGHT}))
    identity = found.record.identity
    rows = load_examples(Catalog(project).task("mood"), lang="en", split="test")
    assert identity.rows == fingerprint(rows)
    assert identity.backend.engine == "lm-eval"
    assert (identity.backend.name, identity.backend.model) == ("tiny-7b", "owner/tiny-7b")
    assert found.record.finished == "2026-01-02T03:04:10+00:00"
    store = Store(found.folder.parent)
    entry = read_entry(store, found.record.run_id)
    assert entry.how.startswith("lm-eval:mood_mc · score")
    assert [place.rank for place in read_tables(store, [entry])[0].places] == [1]
    frame = load_runs(project / "results")
    assert frame.engine.tolist() == ["lm-eval"]
    assert frame.rows_per_second.isna().all()
    assert frame.prompt_tokens.isna().all()
    assert load_predictions(results=project / "results").correct.all()


def test_no_text_and_no_output_is_kept(project: Path) -> None:
    said = [written(n, f"{LABELS[n]} since SECRET") for n in ROWS]
    found = bring(project, write_evaluation(project / "out", {"mood_text": said}))
    kept = "".join(path.read_text(encoding="utf-8") for path in found.folder.iterdir())
    assert {path.name for path in found.folder.iterdir()} == {"run.json", "predictions.jsonl", "metrics.json"}
    assert "SECRET" not in kept
    assert str(project) not in kept
    assert not any(text in kept for text in TEXTS)


def test_a_model_that_is_a_folder_tells_nothing_of_the_machine(project: Path) -> None:
    out = write_evaluation(project / "out", {"t": RIGHT}, results_of({"t": {}}, model="/home/me/models/tiny/"))
    assert bring(project, out).record.identity.backend.model == "tiny"


def test_written_answers_are_read_by_a_parser_that_reads_the_targets(project: Path) -> None:
    said = ["1", " 2 ", "3 or 2", "[invalid]", "2", "9"]
    samples = [written(n, said[n], target=LABELS[n] + 1) for n in ROWS]  # on a scale from 1
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    records = lines_of(found)
    assert [record["label"] for record in records] == [0, 1, None, None, 1, None]
    assert [record.get("reason") for record in records] == [None, None, "ambiguous", "no_answer", None, "out_of_range"]
    assert (found.record.metrics.ok, found.record.metrics.unparsed, found.record.metrics.failed) == (3, 3, 0)
    assert found.record.identity.backend.options["parser"]["first"] == 1


def test_names_as_answers(project: Path) -> None:
    samples = [written(n, f"The mood is {NAMES[LABELS[n]]}.", target=NAMES[LABELS[n]]) for n in ROWS]
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert found.record.metrics.values["accuracy"].value == 1
    assert found.record.identity.backend.options["parser"]["type"] == "label"


def test_a_parser_that_is_off_by_one_is_refused(project: Path) -> None:
    out = write_evaluation(project / "out", {"t": [written(n, str(LABELS[n])) for n in ROWS]})
    with pytest.raises(DataError, match=r"the target is '0', which is none of its labels, but the row 'r0' is 'bad'; 6 of 6"):
        bring(project, out, parser=parser_named("{type: integer, first: 1}"))


def test_parsers_are_named_as_in_prompts() -> None:
    assert parser_named("integer").first == 0
    assert parser_named("{type: integer, first: 1}").first == 1
    for wrong in ("tarot", "{type: integer, last: 3}", "{type: ["):
        with pytest.raises(UserError, match="--parser"):
            parser_named(wrong)


def test_multilabel_answers_are_lists(tmp_path: Path) -> None:
    labels = [[0], [0, 2], [], [2], [1], [0]]
    project = write_project(tmp_path / "project", kind="multilabel", labels=labels)
    names = [json.dumps([NAMES[i] for i in label]) for label in labels]
    said = [*names[:4], '["good"]', "none of them"]
    samples = [written(n, said[n], target=names[n]) for n in ROWS]
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert [record["label"] for record in lines_of(found)] == [[0], [0, 2], [], [2], [2], None]
    assert found.record.metrics.values["subset_accuracy"].value == pytest.approx(4 / 6)
    with pytest.raises(UserError, match="A choice names one label"):
        bring(project, write_evaluation(project / "mc", {"t": RIGHT}))


def test_choices_in_another_order_are_taken_by_their_names(project: Path) -> None:
    names = ("good", "bad", "Fair")
    to_ours = (2, 0, 1)
    samples = [scored(n, [SURE[LABELS[n]][label] for label in to_ours], names, to_ours.index(LABELS[n])) for n in ROWS]
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert found.record.metrics.values["accuracy"].value == 1
    assert lines_of(found)[0]["probabilities"][0] > 0.9
    assert found.record.identity.backend.options["choices"] == ["good", "bad", "fair"]


def test_a_target_may_be_the_text_of_a_choice(project: Path) -> None:
    samples = [scored(n, SURE[LABELS[n]], ("1", "2", "3"), target=LABELS[n] + 1) for n in ROWS]
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert found.record.metrics.values["accuracy"].value == 1


def test_targets_that_are_not_our_labels_are_an_error_with_the_first_of_them(project: Path) -> None:
    samples = [*RIGHT[:3], scored(3, SURE[2], target=0), *RIGHT[4:]]
    out = write_evaluation(project / "out", {"t": samples})
    with pytest.raises(DataError, match=r"jsonl:4: the target is '0', that is 'bad', but the row 'r3' is 'good'; 1 of 6"):
        bring(project, out)


def test_without_a_finite_probability_there_is_no_answer(project: Path) -> None:
    samples = [
        scored(0, ("nan", -1.0, -2.0)), scored(1, ("-inf", "-inf", "-inf")), scored(2, ("-inf", -1.0, -0.5)), *RIGHT[3:]
    ]  # fmt: skip
    records = lines_of(bring(project, write_evaluation(project / "out", {"t": samples})))
    assert [record["status"] for record in records] == ["failed", "failed", "ok", "ok", "ok", "ok"]
    assert records[2]["probabilities"][0] == 0


def test_the_unconditional_half_of_mutual_information_is_not_the_answer(project: Path) -> None:
    samples = [scored(n, [*SURE[LABELS[n]], -0.1, -9.0, -9.0], ("0", "1", "2") * 2) for n in ROWS]
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert found.record.metrics.values["accuracy"].value == 1


def test_choices_that_are_no_labels_are_refused(project: Path) -> None:
    four = [scored(n, (-1.0, -2.0, -3.0, -4.0), ("0", "1", "2", "3")) for n in ROWS]
    with pytest.raises(DataError, match="4 answers to 4 requests, but the task has 3 labels"):
        bring(project, write_evaluation(project / "four", {"t": four}))
    with pytest.raises(DataError, match="jsonl:6: the choices are not those of the first sample"):
        bring(project, write_evaluation(project / "shuffled", {"t": [*RIGHT[:5], scored(5, SURE[0], ("2", "0", "1"))]}))
    words = [scored(n, ("a", "b", "c")) for n in ROWS]
    with pytest.raises(DataError, match="no log-likelihood"):
        bring(project, write_evaluation(project / "words", {"t": words}))


def without_id(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "doc": {key: value for key, value in sample["doc"].items() if key != "id"}}


def test_without_ids_rows_are_found_by_their_text(project: Path) -> None:
    samples = [without_id(sample) for sample in reversed(RIGHT)]
    samples[-2]["doc"]["text"] = " It is a\nhat. "  # white space is no difference
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert found.record.imported.paired_by == {"text": 6}
    assert [record["id"] for record in lines_of(found)] == [f"r{n}" for n in ROWS]
    assert found.record.metrics.values["accuracy"].value == 1


def test_an_id_of_another_world_pairs_nothing(project: Path) -> None:
    """The document's own number looks like one of our ids; its text says whose row it is."""
    samples = [{**sample, "doc": {**sample["doc"], "id": f"r{5 - n}"}} for n, sample in enumerate(RIGHT)]
    found = bring(project, write_evaluation(project / "out", {"t": samples}))
    assert found.record.imported.paired_by == {"text": 6}
    assert found.record.metrics.values["accuracy"].value == 1


def test_a_row_of_another_text_is_not_paired_although_its_id_is_ours(project: Path) -> None:
    foreign = scored(0, SURE[0])
    foreign["doc"]["text"] = "Something else."
    foreign["arguments"]["gen_args_0"]["arg_0"] = "Something else."
    out = write_evaluation(project / "out", {"t": [foreign, *RIGHT[1:]]})
    with pytest.raises(UserError, match=r"Of 6 samples 1 are about none of the 6 test rows of 'mood' in 'en': .*jsonl:1 "):
        bring(project, out)
    found = bring(project, out, allow_missing=True)
    assert (found.record.metrics.n, found.total) == (5, 6)
    assert found.record.imported.left_out == {"unmatched": 1, "ambiguous": 0}


def test_some_of_the_rows_are_a_group_of_their_own(project: Path) -> None:
    whole = bring(project, write_evaluation(project / "all", {"t": RIGHT}))
    some = bring(project, write_evaluation(project / "some", {"t": RIGHT[:4]}))
    store = Store(whole.folder.parent)
    groups = {read_entry(store, found.record.run_id).group for found in (whole, some)}
    assert len(groups) == 2
    rows = load_examples(Catalog(project).task("mood"), lang="en", split="test")
    assert some.record.identity.rows == fingerprint(rows[:4])


def test_rows_of_one_text(tmp_path: Path) -> None:
    texts = ["Good.", "Good.", "Bad!", "Bad!", "It is a hat.", "Nice"]
    labels = [2, 2, 0, 1, 1, 2]  # the two of Bad! differ
    project = write_project(tmp_path / "project", texts, labels=labels)
    samples = []
    for n in ROWS:
        sample = without_id(scored(n, SURE[labels[n]], target=labels[n]))
        sample["doc"]["text"] = texts[n]
        samples.append(sample)
    out = write_evaluation(project / "out", {"t": samples})
    with pytest.raises(UserError, match="Of 6 samples 2 may be about several"):
        bring(project, out)
    found = bring(project, out, allow_missing=True)
    assert [record["id"] for record in lines_of(found)] == ["r0", "r1", "r4", "r5"]
    assert found.record.metrics.values["accuracy"].value == 1


def test_other_data_altogether(project: Path) -> None:
    foreign = [without_id(sample) for sample in RIGHT]
    for sample in foreign:
        sample["doc"]["text"] = "no such review"
    with pytest.raises(UserError, match="None of the 6 samples is about the 6 test rows"):
        bring(project, write_evaluation(project / "out", {"t": foreign}), allow_missing=True)


def test_two_answers_to_one_row(project: Path) -> None:
    again = {**RIGHT[0], "doc_id": 77}
    with pytest.raises(DataError, match=r"jsonl:1 and .*jsonl:7 are both about the row 'r0'"):
        bring(project, write_evaluation(project / "out", {"t": [*RIGHT, again]}))
    with pytest.raises(DataError, match="holds the document 0 2 times"):  # lm-eval appends to a file of the same name
        bring(project, write_evaluation(project / "twice", {"t": [*RIGHT, *RIGHT]}))


def test_several_tasks_filters_and_results_are_chosen_by_name(project: Path) -> None:
    said = [written(n, str(LABELS[n]), kept=kept) for kept in ("strict", "loose") for n in ROWS]
    out = write_evaluation(project / "out", {"mood_mc": RIGHT, "mood_text": said})
    with pytest.raises(UserError, match="several tasks") as several:
        bring(project, out)
    assert "--from-task mood_mc or mood_text" in several.value.hint
    with pytest.raises(UserError, match="no samples of a task 'moods'"):
        bring(project, out, from_task="moods")
    with pytest.raises(UserError, match="several filters"):
        bring(project, out, from_task="mood_text")
    with pytest.raises(UserError, match="no filter 'lose'"):
        bring(project, out, from_task="mood_text", kept="lose")
    loose = bring(project, out, from_task="mood_text", kept="loose")
    assert loose.record.imported.filter == "loose"
    assert bring(project, out / f"samples_mood_mc_{DATE}.jsonl").record.imported.task == "mood_mc"
    assert bring(project, out / f"results_{DATE}.json", from_task="mood_mc").computed is False
    write_evaluation(out, {"mood_mc": RIGHT}, date="2027-01-01T00-00-00.000000")
    with pytest.raises(UserError, match="2 results of mood_mc"):
        bring(project, out, from_task="mood_mc")


def test_imported_once(project: Path) -> None:
    out = write_evaluation(project / "out", {"t": RIGHT})
    first = bring(project, out)
    again, forced = bring(project, out), bring(project, out, force=True)
    assert (first.computed, again.computed, forced.computed) == (True, False, True)
    assert first.record.run_id == again.record.run_id == forced.record.run_id
    other = write_evaluation(project / "other", {"t": [*RIGHT[:5], scored(5, SURE[1])]})
    assert bring(project, other).record.run_id != first.record.run_id, "other answers are another run"


def test_samples_alone_need_a_name(project: Path) -> None:
    out = write_evaluation(project / "out", {"t": RIGHT}, {})
    with pytest.raises(UserError, match="name the model"):
        bring(project, out)
    found = bring(project, out, backend="mine")
    assert found.record.identity.backend.name == "mine"
    assert found.record.imported.reported == {}
    assert found.compared == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"doc": {}, "tar', "t_.*jsonl:1: the line is damaged"),
        ("[1]\n", "is no sample of lm-eval"),
        ('{"doc": {}, "target": "0"}\n', "is no sample of lm-eval"),
        ('{"doc": {}, "target": "0", "filtered_resps": []}\n', "holds no answer"),
        ("\n\n", "holds no samples"),
    ],
)
def test_damaged_samples(project: Path, content: str, problem: str) -> None:
    out = write_evaluation(project / "out", {"t": RIGHT})
    (out / f"samples_t_{DATE}.jsonl").write_text(content)
    with pytest.raises(DataError, match=problem):
        bring(project, out)
    assert not (project / "results").exists(), "nothing is left of what failed"


def test_damaged_results(project: Path) -> None:
    out = write_evaluation(project / "out", {"t": RIGHT})
    (out / f"results_{DATE}.json").write_text('{"results": ')
    with pytest.raises(DataError, match=r"results_.* is damaged"):
        bring(project, out)


def test_nothing_to_import(project: Path) -> None:
    (project / "empty").mkdir()
    for path in (project / "empty", project / "nowhere", project / "tasks" / "mood.yaml"):
        with pytest.raises(UserError) as error:
            bring(project, path)
        assert "--log_samples" in error.value.hint


def test_several_answers_to_a_row_need_a_filter_that_takes_one(project: Path) -> None:
    samples = [written(n, ["0", "1"]) for n in ROWS]
    with pytest.raises(DataError, match="leaves no single answer"):
        bring(project, write_evaluation(project / "out", {"t": samples}))
    single = [written(n, [str(LABELS[n])]) for n in ROWS]
    assert bring(project, write_evaluation(project / "one", {"t": single})).record.metrics.ok == 6


def test_arguments_of_older_versions_are_lists(project: Path) -> None:
    samples = [{**sample, "arguments": [list(part.values()) for part in sample["arguments"].values()]} for sample in RIGHT]
    assert bring(project, write_evaluation(project / "out", {"t": samples})).record.metrics.values["accuracy"].value == 1


def test_figures_that_are_no_numbers_are_left_out(project: Path) -> None:
    figures = {"t": {"acc,none": float("nan"), "f1,none": "N/A", "mcc,none": 0.5, "long,none": 10**400, "alias": "t"}}
    out = write_evaluation(project / "out", {"t": RIGHT}, {**results_of(figures, date="soon"), "n-shot": {"t": None}})
    assert bring(project, out).record.imported.reported == {"mcc": 0.5}


def test_validation_rows(project: Path) -> None:
    write_lines(project / "tasks" / "mood" / "validation.jsonl", [
        {"id": f"r{n}", "text": TEXTS[n], "label": LABELS[n], "lang": "en"} for n in (0, 2, 3)
    ])  # fmt: skip
    out = write_evaluation(project / "out", {"t": [RIGHT[n] for n in (0, 2, 3)]})
    found = bring(project, out, split="validation")
    assert (found.record.identity.split, found.record.metrics.n, found.total) == ("validation", 3, 3)
    assert found.record.rows_from == RowSource(source="files", hub=None, split_rows=3)
