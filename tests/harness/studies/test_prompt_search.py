"""The search for a prompt: its trials, what stops them, what it writes; and never a test row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import prompt_toys
import pytest
import toy

pytest.importorskip("optuna")

from harness.core.errors import BudgetReached, DataError, PromptError, UserError
from harness.core.options import RunOptions
from harness.core.types import Calibration, Decoding
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog
from harness.specs.costs import MemoryBudget
from harness.specs.prompts import load_prompt
from harness.statistics.paired import Difference, mean_of_differences
from harness.studies.prompt_files import Output, template_of
from harness.studies.prompt_proposals import ProposalRejected, instruction_in, quoted_row
from harness.studies.prompt_search import PromptSearch, new_prompt_search, stages_of
from harness.studies.prompt_study import PromptStudy, SearchTrial, open_prompt_study

MANY = 10**9


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prompt_toys.install(monkeypatch)
    return prompt_toys.write_project(tmp_path / "project")


def searched(
    project: Path, prompts: tuple[str, ...] = ("plain",), langs: tuple[str, ...] = ("en",), **changes: Any
) -> PromptSearch:
    own = {name: changes.pop(name) for name in ("seed", "decoding", "validation_limit") if name in changes}
    request = RunOptions(task="toy", backend="reader", lang="en", **own)
    return new_prompt_search(request, langs, prompts, Catalog(project), **changes)


def go_on(project: Path, search: PromptSearch, trials: int = MANY, budget: MemoryBudget | None = None) -> list[SearchTrial]:
    """To so many trials, or until all combinations are tried."""
    with open_prompt_study(search, project / "study", Catalog(project), budget) as study:
        step(study, trials)
        return study.trials()


def step(study: PromptStudy, trials: int = MANY) -> None:
    while study.finished() < trials:
        if study.next_trial(lambda number, candidate: None, toy.quiet) is None:
            return


def told(trials: list[SearchTrial]) -> list[tuple[str, str, float | None]]:
    return [(str(trial.candidate), trial.state, trial.value) for trial in trials if trial.state != "interrupted"]


def best_of(project: Path, search: PromptSearch) -> tuple[SearchTrial, dict[str, str]]:
    with open_prompt_study(search, project / "study", Catalog(project)) as study:
        best = study.best()
        assert best is not None
        return best, study.winner_files(Output(project / "prompts", "found"))


@pytest.mark.parametrize(("rows", "stages"), [(3, (3,)), (99, (99,)), (100, (25, 100)), (1000, (62, 250, 1000))])
def test_stages_grow_fourfold_from_25_rows_on(rows: int, stages: tuple[int, ...]) -> None:
    assert stages_of(rows) == stages


def test_the_interval_of_a_mean_of_differences() -> None:
    one = Difference(0.1, -0.1, 0.4, 0.2, 0.1, "mcnemar")
    assert mean_of_differences([one]) == pytest.approx((0.1, -0.1, 0.4))
    value, low, high = mean_of_differences([one, one])
    assert value == pytest.approx(0.1)
    assert (value - low, high - value) == pytest.approx((0.2 / math.sqrt(2), 0.3 / math.sqrt(2)))


@pytest.mark.slow
def test_originals_come_first_and_what_is_clearly_worse_is_stopped_on_few_rows(project: Path) -> None:
    trials = go_on(project, searched(project, ("plain", "bad", "good")))
    assert told(trials) == [
        ("plain", "complete", 0.5),
        ("bad", "stopped", 0.0),
        ("good", "complete", pytest.approx(0.8)),
    ]
    assert [trial.rows for trial in trials] == [120, 30, 120]
    runs = {rows: trials[2].stages[rows] for rows in trials[2].stages}
    assert list(runs) == [30, 120]


@pytest.mark.slow
def test_a_trial_is_a_run_on_validation_rows_with_examples_from_training_rows(project: Path) -> None:
    search = searched(project, max_shots=1, draws=2, validation_limit=20)
    assert search.stages == (20,)
    trials = go_on(project, search)
    assert {str(trial.candidate) for trial in trials} == {"plain", "plain, shots 1 (seed 0)", "plain, shots 1 (seed 1)"}
    with open_prompt_study(search, project / "study", Catalog(project)) as study:
        records = [study.store.record(name) for name in study.store.ids()]
    assert {record.identity.split for record in records} == {"validation"}
    assert {record.n for record in records} == {20}
    shots = [record.identity.prompt.shots for record in records if record.identity.prompt and record.identity.prompt.shots]
    assert len(shots) == 2
    assert shots[0] != shots[1]
    assert all(row.startswith("train-en-") for drawn in shots for row in drawn)


@pytest.mark.slow
def test_the_written_prompt_shows_the_winning_examples_whatever_the_seed_of_the_run(project: Path) -> None:
    search = searched(project, ("plain", "good"), max_shots=1, draws=1, seed=5)
    go_on(project, search)
    best, files = best_of(project, search)
    assert str(best.candidate) == "good, shots 1 (seed 5)"
    assert list(files) == ["found.j2"]
    Output(project / "prompts", "found").write(files, force=False)
    spec = Catalog(project).prompt("found").spec
    assert (spec.shots, spec.shots_seed, spec.decoding) == (1, 5, Decoding.FREE)
    assert spec.description.startswith(
        "Found by bench prompts optimize: reader on toy (en), the best of 4 trials on 120 validation"
    )
    assert "accuracy 0.9000, the original (plain) 0.5000." in spec.description
    assert "decoding: free\n" in files["found.j2"]

    def shots(seed: int) -> list[str]:
        options = RunOptions(task="toy", backend="reader", lang="en", prompt="found", split="validation", seed=seed)
        plan = make_plan(options, Catalog(project))
        assert plan.prompt is not None
        return [row.id for row in plan.prompt.shots]

    with open_prompt_study(search, project / "study", Catalog(project)) as study:
        (run_id,) = best.runs
        prompt = study.store.record(run_id).identity.prompt
    assert prompt is not None
    assert shots(0) == shots(7) == prompt.shots


@pytest.mark.slow
def test_ties_go_to_the_original_then_to_the_shorter_prompt(project: Path) -> None:
    (project / "prompts" / "same.j2").write_text(prompt_toys.PROMPTS["plain"].replace("skill 5", "skill 5 "))
    for name, words in (("long", "skill 8 with many more words than the other"), ("short", "skill 8")):
        (project / "prompts" / f"{name}.j2").write_text(prompt_toys.PROMPTS["plain"].replace("skill 5", words))
    search = searched(project, ("plain", "same"))
    go_on(project, search)
    assert best_of(project, search)[0].candidate == search.original
    (project / "study").rename(project / "earlier")
    search = searched(project, ("plain", "long", "short"))
    go_on(project, search)
    assert best_of(project, search)[0].candidate.template == "short"


@pytest.mark.slow
def test_the_difference_from_the_original_is_paired(project: Path) -> None:
    search = searched(project, ("plain", "good"))
    go_on(project, search)
    with open_prompt_study(search, project / "study", Catalog(project)) as study:
        change = study.change()
    assert change is not None
    assert change.value == pytest.approx(0.3)
    assert 0.2 < change.low < 0.3 < change.high < 0.4
    assert change.is_significant


@pytest.mark.slow
def test_several_languages_count_equally(project: Path) -> None:
    rows = [row for row in toy.read_rows(project, "validation") if row["lang"] == "en" or "-de-1" in row["id"]]
    toy.write_rows(project, "validation", rows)
    search = searched(project, ("plain", "good"), langs=("en", "de"))
    plain, _ = go_on(project, search)
    with open_prompt_study(search, project / "study", Catalog(project)) as study:
        each = [study.store.record(name).metrics.values["accuracy"].value for name in plain.runs]
        change = study.change()
    assert len({*each, plain.value}) == 3
    assert plain.value == pytest.approx(sum(value or 0 for value in each) / 2)
    assert change is not None
    assert change.low > 0


@pytest.mark.slow
def test_a_resumed_search_tries_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(project, ("plain", "good"), max_shots=2, draws=2, validation_limit=12)
    whole = go_on(project, search, 7)
    (project / "study").rename(project / "undisturbed")
    assert go_on(project, search, 3) == whole[:3]

    def stop(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prompt_toys.Reader, "encode", stop)
        with pytest.raises(KeyboardInterrupt):
            go_on(project, search, 7)
    parts = go_on(project, search, 7)
    assert told(parts) == told(whole)
    assert [trial.state for trial in parts].count("interrupted") == 1


@pytest.mark.slow
def test_no_combination_is_tried_twice_and_the_search_ends_when_all_were(project: Path) -> None:
    search = searched(project, ("plain", "good"), max_shots=1, draws=3, validation_limit=9)
    trials = go_on(project, search)
    assert len(trials) == len({trial.candidate for trial in trials}) == 2 * (1 + 3)


@pytest.mark.slow
def test_another_search_under_the_same_name_is_refused(project: Path) -> None:
    go_on(project, searched(project, validation_limit=9), 1)
    with pytest.raises(UserError, match="different: rows"):
        go_on(project, searched(project, validation_limit=10), 1)


@pytest.mark.slow
def test_calibrations_are_tried_with_score(project: Path) -> None:
    search = searched(project, decoding=Decoding.SCORE, validation_limit=9)
    trials = go_on(project, search)
    assert [trial.candidate.calibration for trial in trials] == [Calibration.NONE, Calibration.BATCH]
    with open_prompt_study(search, project / "study", Catalog(project)) as study:
        prompts = [study.store.record(trial.runs[0]).identity.prompt for trial in trials]
    assert [(p.decoding, p.calibration) for p in prompts if p] == [("score", "none"), ("score", "batch")]


def test_a_file_of_a_candidate_says_the_same_as_its_template(project: Path) -> None:
    front = "description: d\nparser: {type: json_list, most: 3}\nkinds: [multilabel]\n"
    front += "system: |\n  One.\n  {{ labels }}\n\n  Two: x\n"
    (project / "prompts" / "many.j2").write_text(f"---\n{front}---\n\n  {{{{ text }}}}: it\n---\nend\n\n")
    (project / "prompts" / "many.de.j2").write_text(f"---\n{front}max_new_tokens: 40\n---\nDas: {{{{ text }}}}\n")
    template = template_of(Catalog(project), "many", None)
    files = template.files("copy", {"shots": 2, "shots_seed": 3})
    assert list(files) == ["copy.j2", "copy.de.j2"]
    (project / "copies").mkdir()
    for name, text in files.items():
        (project / "copies" / name).write_text(text)
    for lang in (None, "de"):
        source, copy = template.variants[lang], load_prompt(project / "copies" / f"copy{'' if lang is None else '.de'}.j2")
        assert copy.body == source.body
        assert copy.spec == source.spec.model_copy(update={"shots": 2, "shots_seed": 3})


def test_nearest_examples_are_not_drawn(project: Path) -> None:
    near = prompt_toys.PROMPTS["plain"].replace("parser:", "shots: 1\nshots_by: nearest\nparser:")
    (project / "prompts" / "near.j2").write_text(near)
    template = template_of(Catalog(project), "near", None)
    search = searched(project, max_shots=1, draws=3, validation_limit=9)
    assert str(search.own_candidate(template)) == "near, shots 1"
    candidates = {
        search.candidate_of({**settings, "template": "near"}, template.base.spec) for settings in search.combinations()
    }
    assert {str(candidate) for candidate in candidates} == {"near", "near, shots 1"}
    for candidate in candidates:
        (text,) = template.files(candidate.name, candidate.fixed).values()
        assert ("shots_by: nearest" in text) == bool(candidate.shots)


def test_variants_have_the_same_examples(project: Path) -> None:
    (project / "prompts" / "shown.de.j2").write_text(
        toy.FILES["prompts/shown.j2"].replace("shots: 1", "shots: 1\nshots_seed: 1")
    )
    with pytest.raises(PromptError, match="'shots_seed' differs"):
        Catalog(project).prompt("shown", "de")


def test_mistakes_are_found_before_the_first_trial(project: Path) -> None:
    with pytest.raises(UserError, match="toy-classifier reads no prompt"):
        new_prompt_search(RunOptions(task="toy", backend="toy-classifier", lang="en"), ("en",), ["plain"], Catalog(project))
    with pytest.raises(UserError, match="toy-classifier reads no prompt"):
        searched(project, proposer="toy-classifier", proposals=1)
    with pytest.raises(UserError, match="no metric 'acuracy'"):
        searched(project, metric="acuracy")
    with pytest.raises(DataError, match="4 few-shot examples") as caught:
        searched(project, max_shots=4)
    assert "--max-shots" in caught.value.hint
    with pytest.raises(UserError, match="--calibration needs probabilities"):
        searched(project, calibrations=[Calibration.BATCH])
    (project / "prompts" / "proposal-1.j2").write_text(prompt_toys.PROMPTS["good"])
    with pytest.raises(UserError, match="'proposal-1' is that of a proposal"):
        searched(project, ("proposal-1",), proposer="writer", proposals=1)


def test_a_file_is_never_replaced_without_force(project: Path) -> None:
    output, catalog = Output(project / "prompts", "good"), Catalog(project)
    (project / "prompts" / "good.de.j2").write_text(prompt_toys.PROMPTS["good"])
    with pytest.raises(UserError, match=r"good\.j2, .*good\.de\.j2 exist already"):
        output.check(catalog, force=False)
    with pytest.raises(UserError, match="exist already"):
        output.write({"good.j2": "new"}, force=False)
    assert output.path.read_text() == prompt_toys.PROMPTS["good"]
    output.write(output.existing(), force=False)  # the same
    output.check(catalog, force=True)
    output.write({"good.j2": "new"}, force=True)
    assert output.existing() == {"good.j2": "new"}  # a stale variant would be run in its place
    with pytest.raises(UserError, match="'strict' exists already"):
        Output(project / "prompts", "strict").check(catalog, force=True)


# Proposals

SHORT = "<instruction>skill 9\n{{ text }}</instruction>"


def test_the_instruction_in_an_answer() -> None:
    assert (
        instruction_in("<think>\nhm <instruction>no</instruction></think>\nSo:\n<instruction>\nYes.\n</instruction>") == "Yes."
    )
    assert instruction_in("```jinja\nYes.\n```") == "Yes."
    assert instruction_in("<instruction>```\nYes.\n```</instruction>") == "Yes."
    assert instruction_in("Yes.") == "Yes."
    assert instruction_in("<instruction>Yes.</instruction> And", complete=False) == "Yes."
    for answer, complete in (("<think>", True), (" ", True), ("<instruction>Yes", False)):
        with pytest.raises(ProposalRejected):
            instruction_in(answer, complete=complete)


def test_quotes_of_rows_are_found(project: Path) -> None:
    rows = searched(project, validation_limit=2).rows
    text = rows[0].text
    assert quoted_row(f"As in: {text.upper()}.", rows) == rows[0].id
    assert quoted_row("Rate the text: SENTINEL validation", rows) is None


@pytest.mark.slow
def test_a_proposer_sees_instructions_scores_and_mistakes(project: Path) -> None:
    search = searched(project, ("bad", "plain"), proposer="writer", proposals=1)
    prompt_toys.Writer.answers[:] = [SHORT]
    trials = go_on(project, search)
    assert told(trials)[-1] == ("proposal-1", "complete", pytest.approx(0.9))
    (asked,) = prompt_toys.Writer.asked
    assert "accuracy 0.500:\n<instruction>\nskill 5\n{{ text }}" in asked
    assert "Labels: bad, fair, good" in asked
    shown = [line.removeprefix("Text: ") for line in asked.splitlines() if line.startswith("Text: ")]
    assert len(shown) == 6
    assert set(shown) <= set(prompt_toys.texts_of(project, "validation"))
    assert all(int(text.split()[3]) % 10 >= 5 for text in shown)  # those that `plain` got wrong
    assert "Right answer: 1\nModel's answer: 2" in asked
    best, files = best_of(project, search)
    assert best.candidate.template == "proposal-1"
    assert "skill 9\n{{ text }}\n" in files["found.j2"]
    assert not [path for path in (project / "study").rglob("*.j*") if toy.SECRET in path.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("<instruction>skill 9</instruction>", "the text is missing"),
        ("<instruction>{{ text | upper }}</instruction>", "altered"),
        ("<instruction>{% for x in %}{{ text }}</instruction>", "template is not valid"),
        ("<instruction>{{ secret }} {{ text }}</instruction>", "no variable 'secret'"),
        ("<instruction>{{ ''.__class__ }} {{ text }}</instruction>", "can't be rendered"),
        ("<instruction>skill 5\n{{ text }}</instruction>", "tried before"),
        ("<instruction>As SENTINEL validation en 5 says 2 has 1.\n{{ text }}</instruction>", "quotes the validation row"),
        (f"<instruction>{'word ' * 2000}{{{{ text }}}}</instruction>", "characters"),
    ],
)
def test_a_faulty_proposal_is_a_failed_trial_and_its_place_is_asked_for_again(project: Path, answer: str, words: str) -> None:
    row = toy.row("validation", "en", 5, "2", 2) | {"text": f"{toy.SECRET} validation en 5 says 2"}
    toy.write_rows(project, "validation", [*toy.read_rows(project, "validation")[:8], row | {"id": "short"}])
    search = searched(project, proposer="writer", proposals=1, max_shots=1)
    prompt_toys.Writer.answers[:] = [answer, SHORT]
    trials = go_on(project, search, 3)
    assert (trials[1].state, trials[1].value) == ("failed", None)
    assert words in (trials[1].error or "")
    while not any(trial.candidate.template == "proposal-1" and trial.state == "complete" for trial in trials):
        trials = go_on(project, search, len(trials) + 1)
    assert len(prompt_toys.Writer.asked) == 2
    assert words in prompt_toys.Writer.asked[1]


@pytest.mark.slow
def test_where_the_instruction_is_a_system_turn_that_is_replaced(project: Path) -> None:
    front = "description: d\nparser: integer\nshots: 1\nsystem: |\n  skill 4\n"
    (project / "prompts" / "talk.j2").write_text(f"---\n{front}---\nText: {{{{ text }}}}\n")
    search = searched(project, ("talk",), proposer="writer", proposals=2)
    prompt_toys.Writer.answers[:] = ["<instruction>skill 9 {{ text }}</instruction>", "<instruction>skill 7</instruction>"]
    trials = go_on(project, search, 3)
    assert "no variable 'text'" in (trials[1].error or "")
    assert "do not write {{ text }}" in prompt_toys.Writer.asked[0]
    assert told(trials)[2] == ("proposal-2, shots 1 (seed 0)", "complete", pytest.approx(0.8))
    made = load_prompt(project / "study" / "proposals" / "proposal-2.j2")
    assert (made.spec.system, made.body) == ("skill 7", "Text: {{ text }}")


@pytest.mark.slow
def test_the_budget_pays_for_proposals_too(project: Path) -> None:
    search = searched(project, proposer="writer", proposals=1, validation_limit=20)
    prompt_toys.Writer.answers[:] = [SHORT]
    with pytest.raises(BudgetReached, match="proposal by writer may cost"):
        go_on(project, search, budget=MemoryBudget(0.1))
    assert prompt_toys.Writer.asked == []
    budget = MemoryBudget(100.0)
    trials = go_on(project, search, budget=budget)
    words = len(prompt_toys.Writer.asked[0].split())
    assert budget.spent == pytest.approx((1000 * words + 2000 * 10) / 1e6)
    assert [trial.state for trial in trials] == ["complete", "interrupted", "complete"]


@pytest.mark.slow
def test_a_proposal_is_not_asked_for_twice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(project, proposer="writer", proposals=1)
    prompt_toys.Writer.answers[:] = [SHORT]
    go_on(project, search, 1)

    def stop(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.studies.prompt_study.run", stop)
        with pytest.raises(KeyboardInterrupt):
            go_on(project, search, 2)
    assert told(go_on(project, search, 2))[-1] == ("proposal-1", "complete", pytest.approx(0.9))
    assert len(prompt_toys.Writer.asked) == 1


def test_a_run_of_the_winner_needs_its_own_command(project: Path) -> None:
    """The guard of these tests: a run on test rows fails here."""
    options = RunOptions(task="toy", backend="reader", lang="en", prompt="plain")
    with pytest.raises(AssertionError, match="no test rows"):
        run(make_plan(options, Catalog(project)), None)  # type: ignore[arg-type]
