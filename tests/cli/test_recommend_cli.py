"""`bench recommend`: the table, what would change the answer, the sentence, and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ASK = ("recommend", "--task", "mine", "--lang", "en")
ROWS = [{"id": f"{i}", "text": f"row {i} {'good' if i % 2 else 'bad'}", "label": ["no", "yes"][i % 2]} for i in range(40)]


@pytest.fixture
def mine(project: Path) -> Path:
    """The file of a task that is easy to learn."""
    (project / "tasks").mkdir(exist_ok=True)
    files = "{train: mine.jsonl, validation: mine.jsonl, test: mine.jsonl}"
    (project / "tasks" / "mine.yaml").write_text(
        f"description: d\nsource: {{files: {files}}}\ncolumns: {{id: id}}\nlabels: {{kind: nominal, names: ['no', 'yes']}}\n"
        "languages: [en]\n",
        encoding="utf-8",
    )
    path = project / "tasks" / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def two_runs(bench: Any, mine: Path) -> list[str]:
    """Ids of a majority run and a tfidf run on its 40 rows."""
    said = bench("run", "--task", "mine", "--backend", "majority,tfidf", "--json")
    assert said.code == 0, said.err
    return [run["run"] for run in said.json]


def test_a_pick_among_recorded_runs(bench: Any, two_runs: list[str]) -> None:
    said = bench(*ASK)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "mine (test), en: 2 candidates on the same 40 rows"
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert rows[0][:3] == ["", "candidate", "accuracy"]
    assert [row[0] for row in rows[1:]].count("recommended") == 1
    assert "What would change the answer" in lines
    assert lines[-1].startswith("For 1,000,000 en rows of mine, use tfidf")
    assert "only 40 rows" in said.err


def test_json_and_limits(bench: Any, two_runs: list[str]) -> None:
    found = bench(*ASK, "--min-f1", 0.99, "--max-p95-ms", 50, "--label-usd", 0.1, "--json")
    assert found.code == 0, found.err  # that nothing fits is an answer
    assert set(found.json) == {
        "task", "lang", "split", "n", "metric", "rows", "asked", "candidates", "recommended", "runners_up", "refused", "next",
        "nearest", "changes", "notes", "sentence", "optimism", "confirmed",
    }  # fmt: skip
    assert found.json["recommended"] is None
    assert found.json["nearest"] == "tfidf"
    assert found.json["rows"] == {"last_run": None, "outdated": False, "left_out": []}
    assert "no recorded run meets all constraints" in found.json["sentence"]
    assert {run for c in found.json["candidates"] for run in c["runs"]} == set(two_runs)
    missed = {miss["constraint"] for c in found.json["candidates"] for miss in c["misses"]}
    assert missed == {"min_f1", "max_p95_ms"}
    assert set(found.json["changes"]) == {"loosened", "tightened", "predictions", "label_usd", "unknown"}


@pytest.mark.slow
def test_ones_own_prices_change_the_cost(bench: Any, project: Path, two_runs: list[str]) -> None:
    price = "hardware: {mine: {cpu: '', usd_per_hour: %s, date: 2026-01-01, source: me}}\n"
    costs = []
    for usd in (1, 1000):
        (project / "prices.yaml").write_text(price % usd, encoding="utf-8")
        costs.append([c["cost"] for c in bench(*ASK, "--json").json["candidates"]])
    assert all(b > 100 * a for a, b in zip(*costs, strict=True))


def test_the_utility_needs_what_it_divides_by(bench: Any, two_runs: list[str]) -> None:
    said = bench(*ASK, "--utility", "f1-cost-latency", "--tau", 100)
    assert said.code == 0, said.err
    assert "bench analyze latency" in said.out.splitlines()[-1]
    assert "bench analyze latency --backend tfidf --task mine --lang en" in said.out
    assert "on the machine of the run" in said.err


@pytest.mark.slow
def test_the_command_that_it_names_makes_the_latency_known(bench: Any, two_runs: list[str]) -> None:
    ask = (*ASK, "--max-p95-ms", 10_000, "--utility", "f1-cost-latency")
    before = bench(*ask).out
    (row,) = [line for line in before.splitlines() if line.split("\t")[1:2] == ["tfidf"]]
    command = row.partition("run `")[2].partition("`")[0]
    made = bench(*command.split()[1:], "--limit", 30)
    assert made.code == 0, made.err
    after = {c["name"]: c for c in bench(*ask, "--json").json["candidates"]}
    assert after["tfidf"]["p50_ms"] > 0
    (row,) = [line for line in bench(*ask).out.splitlines() if line.split("\t")[1:2] == ["tfidf"]]
    assert "p95 needs 200 different texts, and 30 were timed: run `bench analyze latency" in row
    assert "--limit 200" in row


@pytest.mark.slow
def test_one_price_for_all_time(bench: Any, two_runs: list[str]) -> None:
    usual, dear = (bench(*ASK, *options, "--json").json for options in ((), ("--hardware", "h100")))
    assert all(b["cost"] > a["cost"] for a, b in zip(usual["candidates"], dear["candidates"], strict=True))
    assert (usual["asked"]["hardware"], dear["asked"]["hardware"]) == (None, "h100")
    assert any("priced as h100" in note for note in dear["notes"])
    assert bench(*ASK, "--hardware", "h1000").code == 2


@pytest.mark.parametrize("option", ["--predictions", "--max-cost-per-1k", "--label-usd", "--max-p95-ms", "--tau"])
def test_numbers_that_are_none(bench: Any, two_runs: list[str], option: str) -> None:
    wrong = bench(*ASK, option, "inf", "--json")
    assert wrong.code == 2
    assert f"{option} inf: expected a finite number" in wrong.err


def test_slips(bench: Any, two_runs: list[str]) -> None:
    assert bench("recommend", "--lang", "en").code == 2
    assert "There are runs of: mine (en, test)" in bench("recommend", "--task", "mine", "--lang", "ja").err
    wrong = bench(*ASK, "--utility", "qualty")
    assert wrong.code == 2
    assert "Did you mean quality?" in wrong.err
    assert bench(*ASK, "--min-f1", 2).code == 2
    assert "Did you mean mine?" in bench("recommend", "--task", "mines", "--lang", "en").err


@pytest.mark.slow
def test_a_file_that_was_corrected(bench: Any, mine: Path) -> None:
    """The rows of the file as it is now count, also where it was changed back and nothing ran anew."""

    def corrected(count: int) -> None:
        changed = [{**row, "label": "no"} if i < count else row for i, row in enumerate(ROWS)]
        mine.write_text("".join(json.dumps(row) + "\n" for row in changed), encoding="utf-8")

    def rows_of_pick() -> tuple[str, bool, list[str]]:
        said = bench("recommend", "--task", "mine", "--lang", "en", "--json").json
        return said["candidates"][0]["run"], said["rows"]["outdated"], said["notes"]

    picks = []
    for count in (0, 4):
        corrected(count)
        assert bench("run", "--task", "mine", "--backend", "tfidf", "--lang", "en").code == 0
        picks.append(rows_of_pick()[0])
    assert picks[0] != picks[1]
    corrected(0)
    assert rows_of_pick()[:2] == (picks[0], False)
    corrected(8)
    _, outdated, notes = rows_of_pick()
    assert outdated
    assert any("now hold other rows or labels" in note for note in notes)


@pytest.mark.slow
def test_one_answer_for_all_rows_is_named_everywhere_and_refused(bench: Any, mine: Path) -> None:
    mine.write_text("".join(json.dumps({**row, "label": "no" if i < 24 else "yes"}) + "\n" for i, row in enumerate(ROWS)))
    ran = bench("run", "--task", "mine", "--backend", "majority,tfidf", "--set", "c=1.0e-9")
    assert ran.code == 0, ran.err
    words = "tfidf (en) gives one answer, 'no', to all 40 rows."
    assert f"note: {words}" in ran.err
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert [line[lines[0].index("finding")] for line in lines[1:]] == ["-", "one answer"]
    digits = lines[2][-1]
    assert "\ntfidf gives one answer, 'no', to all 40 rows.\n" in bench("show", digits).out
    assert bench("show", digits, "--json").json["finding"]["kind"] == "constant"
    board = bench("leaderboard").out
    assert "1=" not in board
    assert board.endswith("On 40 en rows of mine, no model is significantly better than always guessing one label.\n")
    said = bench(*ASK)
    assert said.code == 0
    assert "What to run next\n- tfidf: use the default settings: `bench run --backend tfidf --task mine --lang en`" in said.out
    assert "- no language model was prompted on these rows: with gpt-6-luna, 40 rows cost less than $0.01 (" in said.out
    assert "nothing can be recommended: tfidf (trained on 40 en, c=1.0e-09) gives one answer, 'no', to all 40 rows." in said.out
    Path("results").rename("elsewhere")
    steps = bench(*ASK, "--json", "--results", "elsewhere").json["next"]
    assert all(step["command"].endswith(" --results elsewhere") for step in steps)
    Path("elsewhere").rename("results")
    found = bench(*ASK, "--json").json
    assert (found["recommended"], sorted(found["refused"])) == (None, ["majority", "tfidf"])
    assert {c["finding"]["kind"] for c in found["candidates"]} == {"constant"}


@pytest.mark.slow
def test_a_choice_on_validation_rows_and_then_its_test_run(bench: Any, mine: Path) -> None:
    assert bench("run", "--task", "mine", "--backend", "majority,tfidf", "--split", "validation").code == 0
    ask = (*ASK, "--choose-on", "validation", "--json")
    before = bench(*ask).json
    assert (before["split"], before["optimism"]) == ("validation", None)
    assert (before["confirmed"]["runs"], before["confirmed"]["value"]) == ([], None)
    (command,) = before["confirmed"]["commands"]
    assert command in [step["command"] for step in before["next"]]
    assert "no run on test rows" in before["sentence"]
    made = bench(*command.split()[1:], "--json")
    assert made.code == 0, made.err
    after = bench(*ask).json
    assert after["confirmed"]["runs"] == [made.json[0]["run"]]
    assert (after["confirmed"]["n"], after["confirmed"]["test_n"], after["confirmed"]["commands"]) == (40, 40, [])
    assert after["confirmed"]["value"]["low"] is not None
    assert bench(*ASK, "--choose-on", "train").code == 2
