"""The ranking as readers use it: filters, columns, order, keyboard, the address."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from sections import location, show

pytestmark = pytest.mark.browser
Visit = Callable[..., Any]


def column(page: Any, key: str) -> list[str]:
    """What the rows show under a column, from top to bottom."""
    place = page.eval_on_selector_all(
        "#board thead th", "(heads, key) => heads.findIndex(head => head.querySelector(`[data-key='${key}']`))", key
    )
    return list(page.locator(f"#board tbody tr > :nth-child({place + 1})").all_inner_texts())


def first_words(cells: list[str]) -> list[str]:
    return [cell.split("\n")[0].strip() for cell in cells]


def sort_state(page: Any, key: str) -> str:
    return str(page.locator(f"#board th:has([data-key='{key}'])").get_attribute("aria-sort"))


def test_the_first_screen_answers_the_question(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    table = board["tables"][0]
    best, level = table["places"][0], [place for place in table["places"] if place["rank"] == 1]
    said = page.inner_text("#answer")
    assert best["backend"] in said
    assert f"{best['values']['accuracy'][0]:.3f}" in said
    assert len(level) > 1
    assert "not significantly different from it at the 5% level on these 120 rows" in said
    assert page.input_value("#task") == "toy"
    assert page.inner_text("#lang option:checked") == "English (en)"
    assert column(page, "rank") == [f"{place['rank'] or '‡'}{'=' if place['tied'] else ''}" for place in table["places"]]
    assert page.title() == "Leaderboard · bench"


def test_fewest_labels_counts_all_that_people_gave(visit: Visit, board: dict[str, Any]) -> None:
    """Prompted models need none, and validation rows count."""
    level = [place for place in board["tables"][0]["places"] if place["rank"] == 1]
    assert len(level) > 1
    for place in level:
        place.update(labelled=13, train_count=9)
    level[-1].update(labelled=11, train_count=10)
    said = visit(board).inner_text("#answer")
    assert f"Fewest labels of these\n{level[-1]['backend']}" in said
    assert "11 labels" in said
    for place in board["tables"][0]["places"]:
        place.update(rank=1, labelled=0 if place["made"] == "prompted" else 13, train_count=9)
    assert "0 labels, equal to 1 other" in visit(board).inner_text("#answer")


def test_a_single_best_is_said_to_be_better(visit: Visit, board: dict[str, Any]) -> None:
    for number, place in enumerate(board["tables"][0]["places"]):
        place.update(rank=number + 1, tied=False)
    others = len(board["tables"][0]["places"]) - 1
    assert f"significantly better than each of the other {others} entries" in visit(board).inner_text("#answer")


def kinds(board: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The best row that was trained and the best that was prompted, on the first set of rows."""
    places = board["tables"][0]["places"]
    return next(one for one in places if one["made"] == "trained"), next(one for one in places if one["made"] == "prompted")


def figure(place: dict[str, Any]) -> str:
    value, low, high = place["values"]["accuracy"]
    return f"{value:.3f} (95%: {low:.3f}–{high:.3f})"


def test_fine_tune_or_prompt(visit: Visit, board: dict[str, Any]) -> None:
    """Both figures with their intervals, n, how far it goes, and how many labels it takes; a tie is called one."""
    trained, prompted = kinds(board)
    trained["labelled"], prompted["labelled"] = 13, 0
    trained["size"], prompted["size"] = "118M parameters", "135M parameters"
    board["tables"][0]["prompted_sizes"] = "The only prompted model has 135M parameters."
    assert prompted["rank"] > 1
    ranked = [place for place in board["tables"][0]["places"] if place["rank"]]
    page = visit(board)
    said = page.inner_text("#answer")
    assert "The best trained model, encoder (118M parameters), is significantly better than the best prompted one" in said
    assert f"accuracy {figure(trained)} with 13 labels against {figure(prompted)} with no labels" in said
    assert f"of llm (135M parameters; {prompted['how']}; rank {prompted['rank']} of {len(ranked)}" in said
    assert "The only prompted model has 135M parameters." in said
    assert "the best of 2 prompted entries (llm), on one set of rows" in said
    assert "How many labels it takes: encoder is at least as good with 12 labels or fewer." in said
    page.click("#answer a")
    assert page.evaluate("document.activeElement.id") == "curves-title"
    page.select_option("#lang", "*")
    assert f"best prompted: llm (135M parameters) {figure(prompted)}, rank {prompted['rank']}" in page.inner_text("#answer")
    prompted.update(rank=1)
    said = visit(board).inner_text("#answer")
    assert "encoder (118M parameters), and the best prompted one are not significantly different at the 5% level" in said
    for place in board["tables"][0]["places"]:
        place.update(made="trained")
    said = visit(board).inner_text("#answer")
    assert "nothing was prompted on them" in said


def test_trained_or_prompted_is_a_filter(visit: Visit, board: dict[str, Any]) -> None:
    """In the address like the others; and the answer above, which no filter changes, says so."""
    page = visit(board, "#made=prompted")
    assert page.input_value("#made") == "prompted"
    assert set(first_words(column(page, "model"))) == {"llm"}
    assert "the filters below do not change it" in page.inner_text("#question")
    page.select_option("#made", "trained")
    assert "llm" not in first_words(column(page, "model"))
    assert "made=trained" in location(page)
    page.click("#reset")
    assert page.locator("#board tbody tr").count() == len(board["tables"][0]["places"])
    assert not page.is_visible("#unfiltered")


def test_what_a_busy_machine_timed_is_marked_wherever_it_stands(visit: Visit, board: dict[str, Any]) -> None:
    level = [place for place in board["tables"][0]["places"] if place["rank"] == 1]
    for number, place in enumerate(level):
        place.update(busy=True, rate=40.0 + number, cost=0.02 + number)
    page = visit(board)
    rate = f"{39 + len(level):.1f}"
    said = page.inner_text("#answer")
    assert f"{rate} rows/s†" in said
    assert "$0.020 per 1,000 rows†" in said
    assert f"† {len(level)} of {len(level)} entries timed on a busy machine" in said
    assert "$0.020†" in column(page, "cost")
    assert "timed on a busy machine" in show(page, "quality")
    for summary in page.locator("#quality figure:first-of-type summary").all():
        summary.click()
    page.wait_for_selector("#quality figure:first-of-type tbody")
    assert page.inner_text("#quality figure:first-of-type").count("$0.020†") == 2  # on the front, and in the table


def test_ties_are_told_so_that_they_say_something(visit: Visit, board: dict[str, Any]) -> None:
    """Not the first one's own name alone; what all share is named once; nothing is fastest where all are as fast."""
    places = board["tables"][0]["places"]
    for number, place in enumerate(places):
        how = f'trained on {number} en, max_length=64, train.lora={{"r": 8, "b": {number}}}'
        place.update(rank=1, tied=True, backend="same", how=how, rate=50.0, labelled=7)
    said = visit(board).inner_text("#answer")
    assert f"same in {len(places) - 1} other configurations." in said
    assert 'same, trained on 0 en, train.lora={"r": 8, "b": 0}, has the best' in said
    assert said.count("max_length=64") == 1
    assert "Fastest" not in said
    assert "Fewest labels" not in said
    places[1]["rate"] = places[2]["rate"] = 60.0
    assert "60.0 rows/s, equal to 1 other" in visit(board).inner_text("#answer")
    for place in places[3:]:
        place.update(rank=4)
    said = visit(board).inner_text("#answer")
    assert 'same (trained on 1 en, train.lora={"r": 8, "b": 1}) and same (trained on 2 en' in said


def test_nothing_and_not_known_read_differently(visit: Visit, board: dict[str, Any]) -> None:
    """0% where answers are read, a dash where there are none to read; and a bound below 0 is no double dash."""
    for place in board["tables"][0]["places"]:
        place["unparsed"] = 0.0 if place["made"] == "prompted" else None
        place["values"]["qwk"] = [-0.7, -0.8, -0.6]
    page = visit(board, "#cols=unparsed,qwk")
    found = dict(zip(first_words(column(page, "model")), column(page, "unparsed"), strict=True))
    assert (found["llm"], found["encoder"]) == ("0%", "–")
    assert "−0.800 to −0.600" in column(page, "qwk")[0]


def test_filters(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    everything = len(board["tables"][0]["places"])
    assert page.locator("#board tbody tr").count() == everything
    page.fill("#q", "STRICT llm")
    assert first_words(column(page, "model")) == ["llm"]
    assert f"1 of {everything} entries" in page.inner_text("#count")
    page.fill("#q", "")
    page.select_option("#engine", "causal_lm")
    assert first_words(column(page, "model")) == ["llm", "llm"]
    page.select_option("#lang", "ja")
    assert page.locator("#board tbody tr").count() == 2
    page.fill("#q", "nothing like that")
    assert "No entry matches" in page.inner_text("#count")
    page.click("#reset")
    assert page.locator("#board tbody tr").count() == len(board["tables"][1]["places"])
    page.select_option("#lang", "*")
    assert page.locator("#board tbody tr").count() == sum(len(table["places"]) for table in board["tables"])
    assert column(page, "lang")[0] == "en"


def test_numbers_are_sorted_best_first_and_what_is_missing_comes_last(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    places = board["tables"][0]["places"]
    assert sort_state(page, "rank") == "ascending"
    page.click("[data-key=accuracy]")
    values = [f"{value:.3f}" for value in sorted((place["values"]["accuracy"][0] for place in places), reverse=True)]
    assert [cell.split()[0] for cell in column(page, "accuracy")] == values
    assert (sort_state(page, "accuracy"), sort_state(page, "rank")) == ("descending", "none")
    page.click("[data-key=accuracy]")
    assert [cell.split()[0] for cell in column(page, "accuracy")] == values[::-1]
    page.click("[data-key=mae]")  # lower is better, so the least comes first
    mae = [float(cell.split()[0]) for cell in column(page, "mae")]
    assert mae == sorted(mae)
    for _ in range(2):
        page.click("[data-key=rate]")
        rates = column(page, "rate")
        assert rates[-2:] == ["–", "–"]  # two runs have none, whichever way
    assert [float(rate.replace(",", "")) for rate in rates[:-2]] == sorted(float(rate.replace(",", "")) for rate in rates[:-2])
    page.click("[data-key=cost]")
    assert column(page, "cost")[0] == "$0.00010"
    assert set(column(page, "cost")[3:]) == {"–"}


def test_text_is_sorted_as_text_and_over_seeds_by_its_middle(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    page.click("[data-key=model]")
    names = first_words(column(page, "model"))
    assert names == sorted(names)
    page.click("[data-key=model]")
    assert first_words(column(page, "model")) == sorted(names, reverse=True)
    page.click("[data-key=over_seeds]")
    assert first_words(column(page, "model"))[0] == "seeded"
    assert column(page, "over_seeds")[1:] == ["–"] * (len(names) - 1)


def test_columns_are_chosen(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    page.click("#columns summary")
    page.uncheck("#columns input[value=qwk]")
    page.check("#columns input[value=train_langs]")
    heads = page.locator("#board thead .sort").all_inner_texts()
    assert not any(head.startswith("QWK") for head in heads)
    assert column(page, "train_langs")[0] == "en"
    page.keyboard.press("Escape")
    assert not page.locator("#columns").evaluate("menu => menu.open")
    page.reload()
    assert page.locator("#board thead .sort").all_inner_texts() == heads


def test_intervals_are_drawn_on_one_scale(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    places = board["tables"][0]["places"]
    drawn = page.eval_on_selector_all(
        "#board tbody tr",
        """rows => rows.map(row => {
            const bar = row.querySelector("td.metric svg");
            const lines = [...bar.querySelectorAll(".whisker")].map(line => Number(line.getAttribute("x1")));
            return [Math.min(...lines), Number(bar.querySelector(".dot").getAttribute("cx")), Math.max(...lines)];
        })""",
    )
    known = [(place["values"]["accuracy"], found) for place, found in zip(places, drawn, strict=True)]
    (_, low, high), (left, _, right) = known[0]
    slope = (right - left) / (high - low)
    for (value, low, high), found in known:  # one line through all of them
        expected = [left + slope * (bound - known[0][0][1]) for bound in (low, value, high)]
        assert found == pytest.approx(expected, abs=0.05)


def test_a_view_is_in_the_address(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board, "#lang=ja&q=trained+on+9+ja&sort=accuracy+up&engine=encoder")
    assert page.input_value("#lang") == "ja"
    assert page.input_value("#q") == "trained on 9 ja"
    assert page.input_value("#engine") == "encoder"
    assert first_words(column(page, "model")) == ["encoder"]
    assert sort_state(page, "accuracy") == "ascending"
    page.fill("#q", "a b&c=d#e")
    view = location(page)
    page.goto("about:blank")
    page.goto(view)
    assert page.input_value("#q") == "a b&c=d#e"
    page.evaluate("location.hash = '#lang=en'")
    page.wait_for_function("() => document.querySelector('#lang').value === 'en'")
    assert page.input_value("#q") == ""


@pytest.mark.parametrize(
    "address",
    ["#run=constructor&metric=toString&sort=__proto__+up", "#task=%00&lang=<b>&rows=x&cols=,&a=b&at=nowhere", "#%E0%A4%A"],
)
def test_an_address_that_makes_no_sense_does_no_harm(visit: Visit, board: dict[str, Any], address: str) -> None:
    page = visit(board, address)
    assert page.locator("#board tbody tr").count() == len(board["tables"][0]["places"])
    page.locator("#quality").scroll_into_view_if_needed()
    page.wait_for_selector("#quality .plot svg")


@pytest.mark.parametrize(("width", "motion"), [(1280, "no-preference"), (390, "no-preference"), (1280, "reduce")])
def test_a_link_leads_where_it_says(visit: Visit, board: dict[str, Any], width: int, motion: str) -> None:
    """Though the sections on the way are only drawn, and grow, when one comes near."""
    page = visit(board, width=width, reduced_motion=motion)
    for section in page.eval_on_selector_all("#nav a", "links => links.map(link => link.dataset.at)")[::-1]:
        page.reload()
        page.locator(f"#nav a[data-at={section}]").click()
        assert page.evaluate("document.activeElement.id") == f"{section}-title"
        page.wait_for_timeout(500)  # what is drawn on the way pushes it away by then
        top = page.evaluate("id => document.getElementById(id).getBoundingClientRect().top", f"{section}-title")
        assert 0 < top < 200, section


def test_keyboard_alone(visit: Visit, board: dict[str, Any]) -> None:
    """Skip link, sort, what a column means, a run and back: without a pointer, and the focus is never lost."""
    page = visit(board)
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "ranking-title"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(f"{focused}.dataset.key") == "accuracy":
            break
    page.keyboard.press("Enter")
    assert sort_state(page, "accuracy") == "descending"
    assert page.evaluate(f"{focused}.dataset.key") == "accuracy"  # still there, though the head was drawn anew
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.inner_text("#tip") == next(column["explain"] for column in board["columns"] if column["key"] == "accuracy")
    assert page.evaluate(f"{focused}.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("Escape")
    assert not page.is_visible("#tip")
    page.wait_for_function("() => document.querySelectorAll('[aria-expanded=true]').length === 0")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(f"Boolean({focused}.dataset.run)"):
            break
    run = page.evaluate(f"{focused}.dataset.run")
    page.keyboard.press("Enter")
    assert page.is_visible("#run")
    assert page.evaluate(f"{focused}.id") == "run-title"
    page.keyboard.press("Escape")
    assert not page.is_visible("#run")
    assert page.evaluate(f"{focused}.dataset.run") == run


def test_a_thousand_runs(visit: Visit, board: dict[str, Any]) -> None:
    """However many runs there are, few rows are in the document until somebody asks for more."""
    table = board["tables"][0]
    model, details = table["places"][0], board["runs"][table["places"][0]["run"]]
    for number in range(1000):
        run = f"made-up-{number}"
        place = copy.deepcopy(model) | {
            "backend": f"m{number}",
            "rank": 2 + number,
            "tied": False,
            "run": run,
            "runs": [run],
            "seeds": [0],
        }
        table["places"].append(place)
        board["runs"][run] = details
    page = visit(board)
    assert page.locator("#board tbody tr").count() == 50
    assert page.locator("*").count() < 5000
    page.keyboard.press("Tab")
    page.locator("#q").press_sequentially("m99")
    assert first_words(column(page, "model")) == ["m99", *(f"m{number}" for number in range(990, 1000))]
    page.fill("#q", "")
    page.click("#show-more")
    assert page.locator("#board tbody tr").count() == 100
    page.click("#show-all")
    assert page.locator("#board tbody tr").count() == len(table["places"])
    assert page.locator("#more button").count() == 0
