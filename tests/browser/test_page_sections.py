"""What stands below the ranking: charts, one run, two runs; and what it says where there is nothing to show."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from sections import location, show

from harness.records.store import Store

pytestmark = pytest.mark.browser
Visit = Callable[..., Any]
FRONT = "#quality figure:first-child summary:has-text('On the front')"


def test_every_chart_is_drawn_and_described(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    for section, charts in {"quality": 2, "languages": 1, "transfer": 1, "prompts": 1, "curves": 1}.items():
        show(page, section)
        assert page.locator(f"#{section} .plot .vega[aria-label]").count() == charts, section
    assert "encoder is at least as good with 12 labels or fewer." in page.inner_text("#curves")
    assert "n = 100" in page.inner_text("#reported")
    assert "others-model" in page.inner_text("#reported")


def test_charts_wait_until_they_are_in_sight(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board, height=300)
    page.wait_for_timeout(300)
    assert page.locator(".plot svg").count() == 0
    show(page, "quality")
    assert page.locator("#quality .plot svg").count() == 2


def figures(page: Any, section: str) -> list[list[str]]:
    """The table of a section's first chart, opened by keyboard: cells of each row."""
    page.focus(f"{section} details.figures summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{section} details.figures tbody")
    return [str(line).split("\t") for line in page.locator(f"{section} details.figures tbody tr").all_inner_texts()]


def test_what_tooltips_show_stands_in_tables_too(visit: Visit, board: dict[str, Any]) -> None:
    """A pointer is not needed: every chart has its figures below it, in a table that is made when it is opened."""
    page = visit(board)
    for section in ("quality", "languages", "transfer", "prompts", "curves"):
        show(page, section)
    places = {place["run"]: place for table in board["tables"] for place in table["places"]}
    assert page.locator("details.figures").count() == page.locator("main .plot").count()
    assert page.locator("details.figures table").count() == 0
    cost = {line[0]: line for line in figures(page, "#quality")}
    assert cost["fast"][-1] == "yes"
    value, low, high = next(place["values"]["accuracy"] for place in places.values() if place["backend"] == "fast")[:3]
    assert cost["fast"][2:4] == [f"{value:.3f}", f"{low:.3f}–{high:.3f}"]
    drawn = page.locator("#languages .plot svg text").all_text_contents()
    cells = figures(page, "#languages")
    assert sorted(cell[2] for cell in cells) == sorted(text for text in drawn if len(text) == 5 and text[1] == ".")
    assert {cell[1] for cell in cells} == {"English", "Japanese"}
    crossed = [cell for cell in figures(page, "#transfer") if cell[4] == "yes"]
    assert len(crossed) == len(board["matrices"][0]["n"])
    prompts = {cell[1]: cell for cell in figures(page, "#prompts")}
    assert prompts["strict"][4] == f"{100 * board['tables'][0]['prompts']['rows'][-1]['unparsed']:.1f}%"
    kinds = {cell[1] for cell in figures(page, "#curves")}
    assert {"mean of the seeds", "one seed", "prompted"} <= kinds


def test_the_front_is_that_of_the_rows_whatever_the_filters_leave(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    said = show(page, "quality")
    assert "nobody knows its price" in said
    front = "#quality figure:first-child li"
    page.locator(FRONT).click()
    assert [text.split(" · ")[0] for text in page.locator(front).all_inner_texts()] == ["fast", "encoder"]
    page.fill("#q", "encoder")
    show(page, "quality")
    page.locator(FRONT).click()
    assert [text.split(" · ")[0] for text in page.locator(front).all_inner_texts()] == ["encoder"]
    page.fill("#q", "llm")
    assert "2 entries without a measured rate." in show(page, "quality")


def test_trained_and_prompted_entries_have_fronts_of_their_own(visit: Visit, board: dict[str, Any]) -> None:
    for place in board["tables"][0]["places"]:
        place.update(cost=1.0 if place["made"] == "prompted" else 0.5)
    page = visit(board)
    show(page, "quality")
    page.locator(FRONT).click()
    front = "#quality figure:first-child li"
    assert [text.split(" · ")[0] for text in page.locator(front).all_inner_texts()] == ["encoder"]
    page.select_option("#made", "prompted")
    show(page, "quality")
    page.locator(FRONT).click()
    assert [text.split(" · ")[0] for text in page.locator(front).all_inner_texts()] == ["llm"]


def test_what_costs_nothing_is_on_the_front_but_not_on_a_logarithmic_axis(visit: Visit, board: dict[str, Any]) -> None:
    places = board["tables"][0]["places"]
    free = max(places, key=lambda place: float(place["values"]["accuracy"][0]))
    free.update(backend="free-of-charge", cost=0, notes={"cost": "a server that costs nothing"})
    page = visit(board)
    said = show(page, "quality")
    assert "1 entry at 0 dollars, which a logarithmic axis can’t show." in said
    assert "(nobody knows its price)" in said
    assert "a server that costs nothing" not in said
    assert "axes of cost and throughput are logarithmic" in said
    page.locator(FRONT).click()
    front = page.locator("#quality figure:first-child li").all_inner_texts()
    assert [text.split(" · ")[0] for text in front] == ["free-of-charge"], "nothing is as good for as little"
    page.fill("#q", "free-of-charge")
    page.wait_for_selector("#quality figure:first-child .plot", state="detached")
    assert "No entry matches" not in show(page, "quality")


def test_configurations_are_the_lines_of_the_markdown(visit: Visit, board: dict[str, Any]) -> None:
    """In their order and under their names there; a filter takes lines away, and numbers stay."""
    page = visit(board, "#lines=all")
    show(page, "languages")
    (section,) = board["sections"]
    names = [f"{number}. {line['backend']} · {line['how']}" for number, line in enumerate(section["lines"], 1)]
    assert any("of its own language" in name for name in names)
    drawn = page.locator("#languages .plot svg text").all_text_contents()
    lines = [text for text in drawn if text[:1].isdigit() and ". " in text]
    assert [name for name in names if not any(name.startswith(line.rstrip("…")) for line in lines)] == []
    values = {place["run"]: place["values"]["accuracy"][0] for table in board["tables"] for place in table["places"]}
    cells = [f"{values[run]:.3f}" for line in section["lines"] for run in line["runs"] if run]
    assert sorted(text for text in drawn if text.startswith(("0.", "1.0")) and len(text) == 5) == sorted(cells)
    page.fill("#q", "llm")
    show(page, "languages")
    number = next(number for number, name in enumerate(names, 1) if "llm" in name)
    page.wait_for_function(
        "start => [...document.querySelectorAll('#languages svg text')].some(text => text.textContent.startsWith(start))",
        arg=f"{number}. llm",
    )
    assert "encoder" not in page.inner_text("#languages .plot")


def test_transfer_and_curves_are_of_the_split_in_sight(visit: Visit, board: dict[str, Any]) -> None:
    other = copy.deepcopy(board["matrices"][0]) | {"name": "on-other-rows", "n": {"en": 7, "ja": 7}}
    board["matrices"].insert(0, other)
    page = visit(board)
    show(page, "transfer")
    name = page.locator("#transfer select option:checked").inner_text()
    assert name.startswith("encoder · ")
    assert name.endswith("120 test rows each")
    for table in board["tables"]:
        table["task"] += " (validation)"
    page = visit(board)
    assert "bench study transfer" in show(page, "transfer")
    assert "No learning curve here yet" in show(page, "curves")


def test_prompts_of_several_seeds_are_no_intervals(visit: Visit, board: dict[str, Any]) -> None:
    board["tables"][0]["prompts"]["rows"][0].update(seeds=3)
    page = visit(board)
    show(page, "prompts")
    assert page.locator("#prompts svg line[stroke-dasharray='4,3']").count() == 1


def test_colours_of_languages_are_those_of_their_column(visit: Visit, board: dict[str, Any]) -> None:
    """Each language has its own best: the weaker language is not all pale, and lines stand by the distance from these."""
    for table, values in zip(board["tables"], ({"encoder": 0.9, "fast": 0.5}, {"encoder": 0.3, "fast": 0.2}), strict=True):
        for place in table["places"]:
            place["values"]["accuracy"] = [values.get(place["backend"]), None, None]
    page = visit(board)
    show(page, "languages")
    cells = page.eval_on_selector_all(
        "#languages svg .mark-rect.role-mark path",
        "paths => paths.map(path => [path.getAttribute('aria-label'), path.getAttribute('fill')])",
    )
    colours = {name: {colour for label, colour in cells if f"name: {name};" in label} for name in ("encoder", "fast")}
    assert len(cells) == 4
    assert all(len(found) == 1 for found in colours.values()), cells
    assert colours["encoder"] != colours["fast"]


def test_a_name_from_right_to_left_leaves_the_numbers_beside_it(visit: Visit, board: dict[str, Any]) -> None:
    """Its marks of an isolate are the page's own; one in the data is shown as what it is."""
    name = "\u05e9\u05dc\u05d5\u05dd"
    for number, place in enumerate(board["tables"][0]["places"]):
        if number:
            place.update(rank=2 if number > 1 else 1, backend=name if number == 1 else "x\u2068y\u2069")
    page = visit(board)
    assert name in page.locator("#answer bdi").all_inner_texts()
    assert "x\\u2068y\\u2069" in page.inner_text("#board")
    show(page, "differ")
    options = page.get_by_label("A", exact=True).locator("option").all_inner_texts()
    assert any(f"\u2068{name}\u2069 · " in option for option in options)


def test_details_of_a_run(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    place = next(place for place in board["tables"][0]["places"] if board["runs"][place["run"]]["bins"])
    details = board["runs"][place["run"]]
    page.click(f"[data-run='{place['run']}']")
    page.wait_for_selector("#run .plot .vega[aria-label]")
    said = page.inner_text("#run")
    assert all(words in said for words in ("Errors", "By label", "Confidence", "Training", "Settings", place["how"]))
    assert page.get_attribute("#run footer a", "href") == details["record"]
    cells = page.locator("#run .plot").first.locator("svg text").all_text_contents()
    counts = [str(count) for row in details["confusion"] for count in row[:3]]
    assert all(count in cells for count in counts)
    shown = figures(page, "#run")
    assert [int(line[-1]) for line in shown] == [one[4] for one in details["bins"] if one[4]]
    assert "0.700" in said  # the loss of the second evaluation
    assert page.locator("#run .pane").count() == 6
    assert f"run={place['run']}" in location(page)
    page.go_back()
    page.wait_for_function("() => !document.querySelector('#run').open")
    assert "run=" not in location(page)


def test_a_pane_without_figures_says_why(visit: Visit, board: dict[str, Any]) -> None:
    place = next(place for place in board["tables"][0]["places"] if place["backend"] == "fast")
    page = visit(board, f"#run={place['run']}")
    assert page.locator("#run .pane > .empty").all_inner_texts() == [
        "This record has no probabilities (free answers have none), so there is no confidence to check.",
        "Not trained, or not evaluated during training.",
    ]


def test_details_say_what_was_measured_and_where(visit: Visit, board: dict[str, Any]) -> None:
    place = board["tables"][0]["places"][0]
    basis = "200 rows, one at a time, on Elsewhere, 1 core"
    place.update(p95_ms=12.25, labelled=13, facts=[("model", "org/x"), ("latency of one row", f"50% within 5.5 ms ({basis})")])
    place["notes"]["p95_ms"] = basis
    page = visit(board, f"#cols=p95_ms,labelled&run={place['run']}")
    said = page.inner_text("#run")
    assert all(text in said for _, text in place["facts"])
    page.keyboard.press("Escape")
    assert page.get_attribute("#board tbody tr:first-child td[title*=Elsewhere]", "title") == basis
    assert page.locator("#board thead .sort").all_inner_texts()[-1].startswith("Labels used")


def test_an_unknown_run_is_said_to_be_unknown(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board, "#run=gone.1234&engine=none-such")
    assert page.is_visible("#unknown")
    assert page.inner_text("#unknown") == "There is no run gone.1234 on this page."
    assert not page.is_visible("#run")
    assert "run=" not in location(page)
    assert page.locator("#board tbody tr").count() == len(board["tables"][0]["places"])
    assert not page.is_visible("#reset")
    page.locator("#board tbody button").first.click()
    assert not page.is_visible("#unknown")


def test_choosing_a_seed_keeps_focus_and_place(visit: Visit, board: dict[str, Any]) -> None:
    place = next(place for place in board["tables"][0]["places"] if place["backend"] == "seeded")
    page = visit(board, f"#run={place['runs'][0]}", height=300)
    page.focus("#run select")
    page.evaluate("document.querySelector('#run').scrollTop = 60")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("run => location.hash.includes(run)", arg=place["runs"][1])
    assert page.evaluate("document.activeElement.matches('#run select')")
    assert page.evaluate("document.querySelector('#run').scrollTop") == 60


def test_seeds_of_a_run_are_told_apart(visit: Visit, board: dict[str, Any]) -> None:
    place = next(place for place in board["tables"][0]["places"] if place["backend"] == "seeded")
    page = visit(board, f"#run={place['runs'][2]}")
    assert page.locator("#run select option").count() == 3
    assert page.inner_text("#run select option:checked").startswith("seed 2")
    assert "Seeds 0 · 1 · 2" in page.inner_text("#run")
    assert page.get_attribute("#run footer a", "href") == board["runs"][place["runs"][2]]["record"]


def kinds(store: Store, a: str, b: str) -> tuple[dict[str, int], list[str]]:
    """What the page must count, from the records themselves."""
    counts = {"both": 0, "onlyA": 0, "onlyB": 0, "neither": 0}
    differ = []
    for one, other in zip(store.predictions(a), store.predictions(b), strict=True):
        right = (one["label"] == one["truth"], other["label"] == other["truth"])
        counts[{(True, True): "both", (True, False): "onlyA", (False, True): "onlyB", (False, False): "neither"}[right]] += 1
        if one["label"] != other["label"]:
            differ.append(one["id"])
    return counts, differ


def test_where_two_differ(visit: Visit, board: dict[str, Any], store: Store) -> None:
    page = visit(board)
    show(page, "differ")
    places = {place["backend"]: place["run"] for place in board["tables"][0]["places"]}
    page.get_by_label("A", exact=True).select_option(places["fast"])
    page.get_by_label("B", exact=True).select_option(places["llm"])
    show(page, "differ")
    counts, differ = kinds(store, places["fast"], places["llm"])
    found = {kind: int(page.inner_text(f"[data-count={kind}]")) for kind in counts}
    assert found == counts
    assert f"Rows where they differ: {len(differ)}" in page.inner_text("#differ")
    while page.locator("#differ button:has-text('more of')").count():
        there = page.locator("#differ th.id").count()
        page.focus("#differ button:has-text('more of')")
        page.keyboard.press("Enter")
        focused = "[...document.querySelectorAll('#differ th.id')].indexOf(document.activeElement)"
        assert page.evaluate(focused) == there, "the first of the new rows"
    assert sorted(page.locator("#differ th.id").all_inner_texts()) == sorted(differ)
    grid = page.locator("#differ td.cell").all_inner_texts()
    assert sum(int(cell) for cell in grid if cell != "·") == sum(counts.values())
    page.get_by_label("Show").select_option("onlyA")
    show(page, "differ")
    assert page.locator("#differ th.id").count() == min(50, counts["onlyA"])
    p = exact(counts["onlyA"], counts["onlyB"])
    assert (f"p = {p:.3f}" if p >= 0.001 else "p < 0.001") in page.inner_text("#differ")


def exact(only_a: int, only_b: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def test_a_choice_is_kept_though_the_next_comes_before_it_is_drawn(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    show(page, "differ")
    pair = [board["tables"][0]["places"][place]["run"] for place in (-1, -2)]
    page.eval_on_selector_all(
        "#differ .pair select",
        """(menus, pair) => menus.forEach((menu, place) => {
            menu.value = pair[place];
            menu.dispatchEvent(new Event("change"));
        })""",
        pair,
    )
    show(page, "differ")
    assert [page.get_by_label(name, exact=True).input_value() for name in "AB"] == pair


def test_a_sample_of_rows_is_called_one(visit: Visit, board: dict[str, Any]) -> None:
    rows = board["tables"][0]["key"]
    kept = 40
    board["rowsets"][rows].update(
        ids=board["rowsets"][rows]["ids"][:kept], truth=board["rowsets"][rows]["truth"][:kept], sampled=kept
    )
    for place in board["tables"][0]["places"]:
        for run in place["runs"]:
            board["runs"][run]["answers"] = board["runs"][run]["answers"][:kept]
    page = visit(board)
    said = show(page, "differ")
    assert "the answers to 40 of them" in said
    assert sum(int(text) for text in page.locator("[data-count]").all_inner_texts()) == kept
    assert "McNemar’s exact test on 120 rows" in said, "the test is of all rows"


def test_from_a_run_to_a_comparison(visit: Visit, board: dict[str, Any]) -> None:
    place = board["tables"][1]["places"][2]
    page = visit(board, f"#run={place['run']}")
    page.click("#run footer button")
    assert not page.is_visible("#run")
    show(page, "differ")
    assert page.get_by_label("A", exact=True).input_value() == place["run"]
    assert page.input_value("#lang") == "ja"


def test_empty_sections_say_so(visit: Visit, board: dict[str, Any]) -> None:
    board.update(tables=board["tables"][:1], sections=[], matrices=[], curves=[], reported=[])
    table = board["tables"][0]
    table.update(places=table["places"][:1], prompts=None)
    table["places"][0].update(rate=None, cost=None)
    page = visit(board)
    assert "Nothing else was run on these rows" in page.inner_text("#answer")
    said = " ".join(
        show(page, section) for section in ("quality", "languages", "transfer", "prompts", "curves", "differ", "reported")
    )
    commands = (
        "bench run --lang en,ja",
        "bench study transfer",
        "bench run --prompt strict,fewshot",
        "bench study curve",
        "reported/",
    )
    assert [words for words in commands if words not in said] == []
    assert "1 entry without a measured rate." in said
    assert "Needs two runs on the same rows" in said


def test_no_runs_at_all(visit: Visit, board: dict[str, Any]) -> None:
    board.update(tables=[], runs={}, rowsets={}, sections=[], matrices=[], curves=[], reported=[])
    page = visit(board)
    assert "There are no runs yet. Begin with bench run." in page.inner_text("#answer")
    assert [name for name in ("ask", "filters", "board") if page.is_visible(f"#{name}")] == []
    assert page.inner_text("#ranking-note") == "No runs yet."
    show(page, "differ")


def test_many_labels_are_told_in_words(visit: Visit, board: dict[str, Any]) -> None:
    place = board["tables"][0]["places"][0]
    names = [f"label {number}" for number in range(50)]
    board["tables"][0]["labels"] = names
    classes = [[name, 0.5, 0.5, 0.5, 10] for name in names]
    board["runs"][place["run"]].update(confusion=None, mistakes=[[3, 7, 5], [1, 50, 2]], per_class=classes)
    page = visit(board, f"#run={place['run']}")
    said = page.inner_text("#run")
    assert "50 labels are too many for a picture" in said
    assert "label 3, answered as label 7: 5 rows (50.0% of that label)" in said
    assert "label 1, answered as no answer: 2 rows" in said


def test_several_labels_per_row(visit: Visit, board: dict[str, Any]) -> None:
    table = board["tables"][0]
    table["multilabel"] = True
    del board["rowsets"][table["key"]]
    for place in table["places"]:
        for run in place["runs"]:
            board["runs"][run].update(confusion=[[[80, 5], [7, 28]]] * 3, answers=None)
    page = visit(board, f"#run={table['places'][0]['run']}")
    assert "28\t5\t7\t80" in page.inner_text("#run")
    page.keyboard.press("Escape")
    assert "one label per row" in show(page, "differ")
