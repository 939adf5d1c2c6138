"""Sanity gates: what is said of a run that measures little, what stops one that would measure nothing, and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from console import Said, called

from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, Messages, Scores
from harness.core.errors import GateFailed
from harness.core.record import Cut, Gate, GateOutcome, RunRecord
from harness.core.types import Decoding, Prediction
from harness.records.entries import gate_lines
from harness.records.inspection import answers as said_by
from harness.records.store import Store
from harness.running.gates import ENOUGH, cut_of, one_label, texts_cut
from harness.running.plan import Plan
from harness.running.runner import run
from harness.specs.backend_specs import engine_class

PASSED, WARNED, FAILED = GateOutcome.PASSED, GateOutcome.WARNED, GateOutcome.FAILED


def rows_saying(project: Path, *words: str) -> None:
    """English test rows, one a word."""
    toy.write_rows(project, "test", [toy.row("test", "en", n, word, n % 3) for n, word in enumerate(words)])


def record_of(plan: Plan, store: Store, **options: Any) -> RunRecord:
    return store.record(run(plan, store, on_progress=toy.quiet, **options).run_id)


def cut_in(plan: Plan, store: Store) -> Cut:
    found = record_of(plan, store).cut
    assert found is not None
    return found


def gates_of(plan: Plan, store: Store, **options: Any) -> dict[str, Gate]:
    return {gate.name: gate for gate in record_of(plan, store, **options).gates}


def reading(plan: Plan, template: Callable[[Messages], str | None]) -> Plan:
    """The plan with an engine whose chat template is `template`."""
    toy.engine_of(plan).rendered = template
    return plan


def whole(chat: Messages) -> str:
    return "<user>" + "</user><user>".join(turn["content"] for turn in chat) + "</user>"


# The text is in the prompt


@pytest.mark.parametrize(
    "template",
    [
        whole,
        lambda chat: "".join(turn["content"].strip().replace(" ", "\n\n") for turn in chat),  # white space is the template's
        lambda chat: whole(chat).replace("says", "s\u200bays"),  # how control tokens in a text are broken up
        lambda chat: None,  # a server's
    ],
    ids=["as it is", "trimmed", "neutralised", "unknown"],
)
def test_a_text_that_is_in_the_prompt_passes(project: Path, store: Store, template: Callable[[Messages], str | None]) -> None:
    assert gates_of(reading(toy.plan(project), template), store)["text_in_prompt"].outcome is PASSED


@pytest.mark.parametrize(
    "template",
    [
        lambda chat: "",  # the whole prompt: a template that wants the content as parts
        lambda chat: "<user></user>",
        lambda chat: whole(chat)[:12],
        lambda chat: whole(chat[:-1]),
        lambda chat: whole(chat).upper(),
        lambda chat: whole(chat[-1:]),  # the few-shot examples are dropped
    ],
    ids=["nothing", "an empty turn", "cut", "other turns only", "altered", "the last turn only"],
)
def test_a_text_that_is_not_in_the_prompt_stops_the_run_before_a_row_is_asked(
    project: Path, store: Store, template: Callable[[Messages], str]
) -> None:
    plan = reading(toy.plan(project, prompt="shown"), template)
    with pytest.raises(GateFailed, match=r"text_in_prompt\): 11 of 11 prompts .* the chat template") as stopped:
        run(plan, store, on_progress=toy.quiet)
    assert stopped.value.exit_code == 1
    assert "--no-gate" in stopped.value.hint
    assert toy.engine_of(plan).batches == []
    assert store.ids() == []


def test_no_gate_goes_on_and_the_record_says_so(project: Path, store: Store) -> None:
    plan = reading(toy.plan(project), lambda chat: "")
    with pytest.raises(GateFailed):
        run(plan, store, on_progress=toy.quiet)
    found = gates_of(reading(toy.plan(project), lambda chat: ""), store, gate=False)["text_in_prompt"]
    assert (found.outcome, found.value) == (FAILED, 0.0)
    assert gate_lines([found])[0].startswith("failed gate, ignored by --no-gate (text_in_prompt): 11 of 11 prompts")


def test_a_few_odd_texts_are_a_warning(project: Path, store: Store) -> None:
    def drops_thinking(chat: Messages) -> str:
        return whole(chat).rpartition("</think>")[2]

    rows_saying(project, *(["1"] * 19), "a</think>1")
    found = gates_of(reading(toy.plan(project), drops_thinking), store)["text_in_prompt"]
    assert (found.outcome, found.value) == (WARNED, 0.95)
    assert "1 of 20 prompts" in found.message
    assert "test-en-19" in found.message


# The labels have probability


def scoring(plan: Plan, log_p: Callable[[str], Sequence[float]]) -> Plan:
    def score(prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        return [Scores(np.array(log_p(prompt.content[0])), prompt.tokens) for prompt in prompts]

    toy.engine_of(plan).score = score
    return plan


@pytest.mark.parametrize(
    ("mass", "outcome"), [(1.0, PASSED), (0.02, PASSED), (0.009, WARNED), (1e-7, WARNED)], ids=["all", "some", "few", "none"]
)
def test_the_mass_of_the_labels_is_in_the_record(project: Path, store: Store, mass: float, outcome: GateOutcome) -> None:
    log_p = [float(np.log(mass * share)) for share in (0.5, 0.3, 0.2)]
    plan = scoring(toy.plan(project, decoding=Decoding.SCORE), lambda text: log_p)
    found = gates_of(plan, store)["label_mass"]
    assert found.outcome is outcome
    assert found.value == pytest.approx(mass, rel=1e-3)
    assert f"have {mass:.2g} of the probability" in found.message


def test_the_median_row_tells_the_mass(project: Path, store: Store) -> None:
    plan = scoring(toy.plan(project, decoding=Decoding.SCORE), lambda text: [-20.0] * 3 if "says 2" in text else [-2.0] * 3)
    assert gates_of(plan, store)["label_mass"].outcome is PASSED


# The answers can be read


def test_a_server_whose_first_answers_can_not_be_read_is_paid_for_no_more(project: Path, store: Store) -> None:
    rows_saying(project, *(["mumble"] * 40))
    plan = toy.plan(project, "toy-server", settings={"batch": 10})
    with pytest.raises(GateFailed, match=r"answers_unparsed\): None of the first 20 answers") as stopped:
        run(plan, store, on_progress=toy.quiet)
    assert "(no_answer 20)" in stopped.value.message
    answers = stopped.value.message.partition("The answers: ")[2]
    assert len(said_by(Path(answers))) == 20
    assert stopped.value.exit_code == 1
    assert len(toy.engine_of(plan).batches) == 2
    assert store.ids() == []


def test_what_was_paid_is_kept_and_asked_no_more(project: Path, store: Store) -> None:
    rows_saying(project, *(["mumble"] * 40))
    for _ in range(2):  # the second time it stops before anything is sent
        plan = toy.plan(project, "toy-server", settings={"batch": 10})
        with pytest.raises(GateFailed):
            run(plan, store, on_progress=toy.quiet)
    assert toy.engine_of(plan).batches == []
    again = toy.plan(project, "toy-server", settings={"batch": 10})
    found = gates_of(again, store, gate=False)["answers_unparsed"]
    assert sum(map(len, toy.engine_of(again).batches)) == 20
    assert (found.outcome, found.value) == (FAILED, 1.0)
    assert str(store.root) not in store.record(again.run_id).model_dump_json()


def test_a_server_that_answers_none_of_the_first_rows_is_paid_for_no_more(project: Path, store: Store) -> None:
    rows_saying(project, *(["fail"] * 40))
    for batches in ([10, 10], []):  # the second time it stops before anything is sent
        plan = toy.plan(project, "toy-server", settings={"batch": 10})
        with pytest.raises(GateFailed, match=r"rows_unanswered\): None of the first 20 rows has an answer \(\w+ 20\)"):
            run(plan, store, on_progress=toy.quiet)
        assert [len(batch) for batch in toy.engine_of(plan).batches] == batches
    rows_saying(project, *(["fail"] * 30), "1")  # the shortest text comes last
    plan = toy.plan(project, "toy-server", settings={"batch": 10})
    assert gates_of(plan, store, gate=False)["rows_unanswered"].outcome is FAILED


@pytest.mark.parametrize(
    ("backend", "words", "outcome"),
    [
        ("toy-server", ["mumble"] * (ENOUGH - 1), WARNED),  # too few to stop
        ("toy-server", [*["mumble"] * 39, "1" + " long" * 9], PASSED),  # the longest text, hence in the first batch
        ("toy-server", [*["fail"] * 30, *["mumble"] * 3], WARNED),  # a row without an answer says nothing of the parser
        ("toy-server", ["fail"] * 2 + ["1"], PASSED),
        ("toy-model", ["mumble"] * 40, WARNED),  # costs nothing
    ],
)
def test_what_does_not_stop_a_run(project: Path, store: Store, backend: str, words: list[str], outcome: GateOutcome) -> None:
    rows_saying(project, *words)
    assert gates_of(toy.plan(project, backend), store)["answers_unparsed"].outcome is outcome


# A server that cuts prompts


@pytest.mark.parametrize(("context", "outcome"), [(10_000, PASSED), (100, WARNED), (0, PASSED)], ids=["all", "cut", "unsaid"])
def test_a_server_that_reads_fewer_tokens_than_there_are_words(
    project: Path, store: Store, context: int, outcome: GateOutcome
) -> None:
    rows_saying(project, *([f"1 {'more ' * 500}"] * 20))
    plan = toy.plan(project, "toy-server")
    engine = toy.engine_of(plan)
    answer = engine._answer
    engine._answer = lambda prompt, said: replace(answer(prompt, said), prompt_tokens=min(context, prompt.tokens))
    found = gates_of(plan, store)["prompts_cut"]
    assert found.outcome is outcome
    if outcome is WARNED:
        assert "1,800 tokens for the first 18 prompts, which have 9," in found.message


def test_a_server_that_cuts_is_named_where_its_answers_stop_the_run(project: Path, store: Store) -> None:
    rows_saying(project, *([f"mumble {'more ' * 500}"] * 20))
    plan = toy.plan(project, "toy-server")
    answer = toy.engine_of(plan)._answer
    toy.engine_of(plan)._answer = lambda prompt, said: replace(answer(prompt, said), prompt_tokens=9)
    with pytest.raises(GateFailed, match=r"answers_unparsed.*it seems to truncate long prompts"):
        run(plan, store, on_progress=toy.quiet)


# Texts are truncated


def cutting(project: Path, most: int) -> Plan:
    """With an engine that reads `most` words."""
    return toy.plan(project, "toy-classifier", settings={"most": most})


def test_the_texts_of_all_batches_that_are_cut_are_counted(project: Path, store: Store) -> None:
    plan = cutting(project, 7)
    lengths = [len(row.text.split()) for row in plan.rows]
    record = record_of(plan, store)
    lost = sum(max(0, n - 7) for n in lengths)
    assert record.cut is not None
    assert record.cut.texts == sum(n > 7 for n in lengths)
    assert record.cut.share == pytest.approx(record.cut.texts / 11, abs=1e-6)
    assert record.cut.tokens_lost_share == pytest.approx(lost / sum(lengths), abs=1e-6)
    assert record.training is not None
    assert record.training.cut is not None
    assert record.training.cut.share > 0
    (gate,) = [gate for gate in record.gates if gate.name == "texts_cut"]
    assert (gate.outcome, gate.value) == (WARNED, record.cut.share)


def test_a_resumed_run_counts_the_cut_texts_of_its_first_start(project: Path, store: Store, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killed(texts: Sequence[str]) -> None:
        if len(toy.engine_of(plan).batches) == 3:
            raise Killed

    plan = cutting(project, 5)
    toy.engine_of(plan).hook = killed
    with pytest.raises(Killed):
        run(plan, store, on_progress=toy.quiet)
    resumed = cut_in(cutting(project, 5), store)
    assert resumed == cut_in(cutting(project, 5), Store(tmp_path / "other"))
    assert resumed.texts == 11


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_few_cut_texts_are_counted_and_many_are_a_warning(project: Path, store: Store, cut: int) -> None:
    rows_saying(project, *[f"{n % 3} {'more ' * 9 if n < cut else ''}" for n in range(100)])
    found = gates_of(cutting(project, 12), store)["texts_cut"]
    assert found.value == cut / 100
    assert found.outcome is (WARNED if cut > 1 else PASSED)
    assert ("are truncated" in found.message) == (cut > 0)


@pytest.mark.parametrize(
    ("engine", "options", "named"),
    [
        ("encoder", {}, ["max_length=N", "long_texts=windows"]),
        ("encoder", {"long_texts": "head_tail"}, ["max_length=N", "long_texts=windows"]),
        ("encoder", {"long_texts": "windows", "max_windows": 2}, ["max_windows=null"]),
        ("setfit", {}, ["max_length=N"]),
        ("baseline", {"classifier": "tfidf"}, []),
    ],
)
def test_the_warning_names_the_ways_out_that_the_engine_has(engine: str, options: dict[str, Any], named: list[str]) -> None:
    found = texts_cut(
        Cut(texts=3, share=0.3, tokens_lost_share=0.1), None, engine_class(engine).Options.model_validate(options)
    )
    assert re.findall(r"--set (\S+)", found.message) == named


def test_a_text_of_several_rows_counts_for_each(project: Path, store: Store) -> None:
    rows = [{**toy.row("test", "en", n, "1", 0), "text": "one text of two rows says 1"} for n in range(2)]
    toy.write_rows(project, "test", [*rows, toy.row("test", "en", 2, "1", 0) | {"text": "says 1"}])
    assert cut_in(cutting(project, 4), store).texts == 2


def test_a_prompt_is_never_cut(project: Path, store: Store) -> None:
    assert record_of(toy.plan(project), store).cut is None


def test_nothing_is_no_share() -> None:
    assert (cut_of([]).share, cut_of([]).tokens_lost_share) == (0.0, 0.0)


# One label for all


def constant(plan: Plan, label: int | None) -> Plan:
    def predict(texts: Sequence[Encoded]) -> FloatArray:
        found = np.full((len(texts), 3), 0.1)
        found[np.arange(len(texts)), [n % 3 if label is None else label for n in range(len(texts))]] = 0.8
        return found

    toy.engine_of(plan).predict = predict
    return plan


def test_a_classifier_that_gives_one_label_to_all_says_so(project: Path, store: Store) -> None:
    rows_saying(project, *["1"] * 30)
    found = gates_of(constant(toy.plan(project, "toy-classifier"), 1), store)["one_label"]
    assert found.outcome is WARNED
    assert "All 30 rows get the same answer: 'fair'." in found.message


def test_a_training_that_has_not_left_the_constant_says_how_to_train_longer(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer: list[int] = []

    def with_min_steps(options: Any, rows: int, steps: int) -> dict[str, Any]:
        longer.append(steps)
        return {"train.epochs": steps // rows}

    monkeypatch.setattr(toy.ToyClassifier, "with_min_steps", staticmethod(with_min_steps))
    rows_saying(project, *["1"] * 40)
    plan = toy.plan(project, "toy-classifier")
    assert plan.training is not None
    assert {row.label for row in plan.training.train} == {0, 1, 2}
    for others, outcome in ((0, WARNED), (1, WARNED), (2, PASSED)):  # of 40 rows; by the training rows 27 would be others
        answers = [0] * others + [1] * (40 - others)
        given = [Prediction(row.id, label) for row, label in zip(plan.rows, answers, strict=True)]
        (found,) = one_label(plan, given, steps=30)
        assert found.outcome is outcome
    (found,) = one_label(plan, [Prediction(row.id, 1) for row in plan.rows], steps=100)
    assert "100 steps" in found.message
    assert "--set train.epochs=33 " in found.message
    assert longer == [200, 200, 300]


def test_one_that_learned_something_passes(project: Path, store: Store) -> None:
    rows_saying(project, *["1"] * 30)
    assert gates_of(constant(toy.plan(project, "toy-classifier"), None), store)["one_label"].outcome is PASSED


def test_a_handful_of_texts_says_nothing_and_majority_is_to_give_one_label(project: Path, store: Store) -> None:
    assert "one_label" not in gates_of(constant(toy.plan(project, "toy-classifier"), 1), store)
    rows_saying(project, *["1"] * 30)
    assert "one_label" not in gates_of(toy.plan(project, "majority", prompt=None), store)


def test_labels_that_no_training_row_has_are_counted(project: Path, store: Store) -> None:
    assert "unseen_labels" not in gates_of(toy.plan(project, "toy-classifier"), store)
    toy.write_rows(project, "train", [toy.row("train", "en", n, "word", n % 2) for n in range(12)])
    rows_saying(project, *["a"] * 9)  # of three labels
    found = gates_of(toy.plan(project, "toy-classifier"), store)["unseen_labels"]
    assert (found.outcome, found.value) == (WARNED, pytest.approx(1 / 3))
    assert "unseen_labels" not in gates_of(toy.plan(project, "majority", prompt=None), store)


# The command


@pytest.fixture
def bench(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(project)
    return lambda *arguments: called(arguments, monkeypatch, capsys)


QUICK = ("run", "--task", "toy", "--lang", "en")


@pytest.mark.slow
def test_cut_texts_are_said_by_run_show_and_board(bench: Callable[..., Said], project: Path) -> None:
    said = bench(*QUICK, "--backend", "toy-classifier", "--set", "most=5", "--json")
    warning = "warning (texts_cut): 100.0% of the texts (11) are truncated"
    assert said.code == 0
    assert f"toy-classifier en: {warning}" in said.err
    assert [(gate["name"], gate["outcome"]) for gate in said.json[0]["gates"]] == [("texts_cut", "warned")]
    assert warning in bench("show", said.json[0]["run"]).out
    assert f"toy-classifier (trained on 9 en, most=5): {warning}" in bench("leaderboard").out
    assert "are truncated" in (project / "results" / "LEADERBOARD.md").read_text()
    assert warning in bench(*QUICK, "--backend", "toy-classifier", "--set", "most=5").err  # found again
    assert warning in bench(*QUICK, "--backend", "toy-classifier", "--set", "most=5", "--quiet").err


@pytest.mark.slow
def test_what_is_fine_is_not_mentioned(bench: Callable[..., Said], project: Path) -> None:
    said = bench(*QUICK, "--backend", "toy-classifier", "--json")
    assert (said.json[0]["gates"][0]["outcome"], "texts_cut" in said.err) == ("passed", False)
    assert "texts_cut" not in bench("show", said.json[0]["run"]).out + bench("leaderboard").out
    assert "texts_cut" not in (project / "results" / "LEADERBOARD.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("command", [QUICK, ("study", "curve", "--encoder", "toy-classifier", "--task", "toy", "--lang", "en")])
def test_a_failed_gate_ends_the_command_with_1_and_no_gate_goes_on(
    bench: Callable[..., Said], project: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(toy.ToyModel, "rendered", lambda engine, chat: "")
    asked = ("--backend", "toy-model") if command is QUICK else ("--llm", "toy-model", "--sizes", "3", "--seed", "0")
    said = bench(*command, *asked, "--prompt", "echo")
    assert said.code == 1
    assert "is stopped (text_in_prompt): 11 of 11 prompts" in said.err
    assert "--no-gate continues anyway" in said.err
    assert not any("toy-model" in path.name for path in (project / "results" / "runs").glob("*[0-9a-f]"))
    again = bench(*command, *asked, "--prompt", "echo", "--no-gate")
    assert again.code == 0
    assert "failed gate, ignored by --no-gate (text_in_prompt): 11 of 11 prompts" in again.err


# What gates are not


@pytest.mark.slow
def test_no_gate_changes_predictions_or_the_identity(project: Path, store: Store, tmp_path: Path) -> None:
    plans = [toy.plan(project, backend) for backend in ("toy-classifier", "toy-model", "toy-server")]
    for plan in plans:
        first = run(plan, store, on_progress=toy.quiet)
        other = run(toy.plan(project, plan.backend.name), Store(tmp_path / "other"), on_progress=toy.quiet, gate=False)
        assert first.run_id == other.run_id
        files = [result.folder / "predictions.jsonl" for result in (first, other)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_no_gate_looks_at_a_label(project: Path, store: Store, tmp_path: Path) -> None:
    """Other true labels, and the same predictions: the same gates."""
    rows = toy.read_rows(project, "test")
    found = []
    for shift in (0, 1):
        toy.write_rows(project, "test", [{**row, "label": (row["label"] + shift) % 3} for row in rows])
        own = Store(tmp_path / f"runs-{shift}")
        found.append([gates_of(toy.plan(project, backend), own) for backend in ("toy-classifier", "toy-server")])
    assert found[0] == found[1]


def gate(name: str, outcome: GateOutcome, message: str) -> Gate:
    return Gate(name=name, outcome=outcome, message=message)


def test_only_what_must_be_known_is_a_line() -> None:
    gates = [
        gate("a", PASSED, "fine"),
        gate("b", WARNED, "less so"),
        gate("c", FAILED, "not at all"),
    ]
    assert gate_lines(gates) == ["warning (b): less so", "failed gate, ignored by --no-gate (c): not at all"]


def test_a_finding_says_what_one_label_would() -> None:
    gates = [
        gate("one_label", WARNED, "all alike"),
        gate("texts_cut", WARNED, "all cut"),
    ]
    assert gate_lines(gates, has_finding=True) == ["warning (texts_cut): all cut"]
    assert gate_lines(gates, has_finding=False) == ["warning (one_label): all alike", "warning (texts_cut): all cut"]
