"""Everybody can use it: names of controls, order of headings, contrast, dark mode, phones, print; and names that mean harm."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from sections import finalize_predictions, show

pytestmark = pytest.mark.browser
Visit = Callable[..., Any]
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a|b",
    '"quoted"',
    "{{ 7*7 }}",
    "<!--",
    "__proto__",
    "\u202egnp.exe",
]


def test_names_stay_names(visit: Visit, board: dict[str, Any]) -> None:
    """In cells, menus, charts, tooltips, details and the address."""
    text = json.dumps(board)
    for name, bad in zip(
        ("encoder", "seeded", "fast", "llm", "toy", "strict", "fewshot", "others-model"), HOSTILE, strict=True
    ):
        text = text.replace(f'"{name}"', json.dumps(bad))
    board = json.loads(text)
    page = visit(board, "#q=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    page.on("dialog", lambda dialog: pytest.fail(f"a name was run: {dialog.message}"))
    assert page.input_value("#q") == HOSTILE[1]
    page.fill("#q", "")
    finalize_predictions(page)
    shown = page.inner_text("#board")
    assert all(name in shown for name in HOSTILE[:4])
    assert page.inner_text("#task option:checked") == HOSTILE[4]
    assert "\u202e" not in page.inner_text("body")  # it would turn the words of its neighbours
    assert "\\u202egnp.exe" in page.inner_text("#reported")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 4
    texts = page.locator("#languages svg text").all_text_contents()
    assert all(name in texts for name in HOSTILE[:4])
    point = page.locator("#quality .plot svg .mark-symbol.role-mark path").last
    point.evaluate("point => point.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(300)  # to scroll takes away a tooltip
    point.hover()
    page.wait_for_selector("#hover", state="visible")
    assert any(name in page.inner_text("#hover") for name in HOSTILE[:4])
    for place in board["tables"][0]["places"]:
        page.evaluate("run => { location.hash = '#' + new URLSearchParams({run}) }", place["run"])
        page.wait_for_selector("#run[open]")
        assert page.inner_text("#run-title") == place["backend"]
        page.keyboard.press("Escape")
        page.wait_for_function("() => !location.hash.includes('run=')")


def test_every_control_has_a_name(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    finalize_predictions(page)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    nameless = """from => [...document.querySelectorAll(`${from} :is(button, a[href], input, select, summary, [tabindex='0'])`)]
        .filter(control => !(control.innerText?.trim() && control.tagName !== "SELECT"))
        .filter(control => !control.getAttribute("aria-label")?.trim()
            && ![...(control.labels ?? [])].some(label => label.querySelector("span")?.textContent.trim()))
        .map(control => control.outerHTML.slice(0, 200))"""
    assert page.evaluate(nameless, "body") == []
    page.locator("#board tbody button").first.click()
    page.wait_for_selector("#run .plot svg")
    assert page.evaluate(nameless, "#run") == []


def test_structure(visit: Visit, board: dict[str, Any]) -> None:
    """One h1, no level of headings left out, captions, scopes, landmarks, no id twice, every aria reference leads somewhere."""
    page = visit(board)
    finalize_predictions(page)
    page.locator("#board tbody button").first.click()
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(heading => Number(heading.tagName[1]))")
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.locator("table:not(:has(caption:not(:empty)))").count() == 0
    assert page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count() == 0
    assert [page.locator(tag).count() for tag in ("main", "body > header", "nav", "body > footer")] == [1, 1, 1, 1]
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))
    lost = """() => ["aria-labelledby", "aria-describedby", "aria-controls"].flatMap(name =>
        [...document.querySelectorAll(`[${name}]`)].filter(one => !document.getElementById(one.getAttribute(name)))
            .map(one => one.outerHTML.slice(0, 100)))"""
    assert page.evaluate(lost) == []
    assert page.get_attribute("html", "lang") == "en"


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(visit: Visit, board: dict[str, Any], theme: str) -> None:
    """Text: 4.5 to 1; lines that carry meaning, and edges of controls: 3 to 1."""
    page = visit(board, color_scheme=theme)
    resolve = """token => {
        const probe = document.createElement("i");
        probe.style.color = `var(--${token})`;
        document.body.append(probe);
        return getComputedStyle(probe).color;
    }"""
    colours = {
        token: page.evaluate(resolve, token)
        for token in ("paper", "raised", "ink", "soft", "link", "warn", "mark", "best", "edge")
    }
    low = [
        (text, ground, contrast(colours[text], colours[ground]))
        for text, least in (("ink", 4.5), ("soft", 4.5), ("link", 4.5), ("warn", 4.5), ("mark", 3), ("best", 3), ("edge", 3))
        for ground in ("paper", "raised")
        if contrast(colours[text], colours[ground]) < least
    ]
    assert low == []
    assert (luminance(colours["paper"]) > 0.5) == (theme == "light")


def test_the_theme_can_be_turned(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    finalize_predictions(page)
    light = page.evaluate(ground)
    assert page.get_attribute("#theme", "aria-pressed") == "false"
    ink = "getComputedStyle(document.querySelector('#quality .role-axis-label text')).fill"
    before = page.evaluate(ink)
    page.click("#theme")
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    assert luminance(page.evaluate(ground)) < 0.1 < luminance(light)
    page.wait_for_function("() => document.querySelector('#quality .plot').dataset.drawn === 'dark'")
    assert luminance(before) < 0.1 < luminance(page.evaluate(ink))
    page.reload()
    assert page.get_attribute("#theme", "aria-pressed") == "true"


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(visit: Visit, board: dict[str, Any], width: int) -> None:
    page = visit(board, width=width)
    page.click("#columns summary")
    for box in page.locator("#columns input").all():
        box.check()
    page.keyboard.press("Escape")
    finalize_predictions(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#board tbody button").first.click()
    page.locator("#run .plot").first.scroll_into_view_if_needed()  # a chart is drawn where it can be seen
    page.wait_for_selector("#run .plot svg")
    assert page.evaluate("document.querySelector('#run').scrollWidth <= document.querySelector('#run').clientWidth")


def test_on_a_phone_the_name_stays_in_sight(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board, width=390)
    page.evaluate("document.querySelector('#board-box').scrollLeft = 400")
    box = page.locator("#board tbody th").first.bounding_box()
    assert 0 <= box["x"] < 30


CHARTS = ("quality", "languages", "transfer", "prompts", "curves")
OUTSIDE = """() => [...document.querySelectorAll("main .plot")].flatMap(plot => {
    const place = plot.getBoundingClientRect();
    return [...plot.querySelectorAll("svg text")].filter(text => {
        const box = text.getBoundingClientRect();
        return box.right > place.right + 1 || box.left < place.left - 1;
    }).map(text => text.textContent);
})"""


@pytest.mark.parametrize("width", [320, 390, 768])
def test_charts_fit_into_a_narrow_place(visit: Visit, board: dict[str, Any], width: int) -> None:
    """No cell, label or legend is cut off, or to be scrolled to."""
    board["sections"][0]["lines"][0]["how"] += ", " + ", ".join(f"train.setting{number}=0.5" for number in range(9))
    for row in board["curves"][0]["block"]["rows"]:
        if row["kind"] == "prompted":
            row["name"] = "smollm2 (fewshot · score, batch calibration)"
    page = visit(board, "#lines=all", width=width)
    for section in CHARTS:
        show(page, section)
    assert page.evaluate(OUTSIDE) == []
    texts = page.locator("#curves .plot svg text").all_text_contents()
    assert "smollm2 (fewshot · score, batch calibration)" in texts or width < 390


def test_a_grid_is_drawn_anew_when_its_place_gets_narrower(visit: Visit, board: dict[str, Any]) -> None:
    board["sections"][0]["lines"][0]["how"] += ", " + "x" * 200
    page = visit(board, "#lines=all")
    show(page, "languages")
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function(
        "() => document.querySelector('#languages .plot').scrollWidth <= document.querySelector('#languages .plot').clientWidth"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [390, 1440])
def test_no_axis_is_without_numbers(visit: Visit, board: dict[str, Any], width: int) -> None:
    """Prices and rates close together: on logarithmic axes Vega leaves out the numbers of such ticks."""
    for number, place in enumerate(board["tables"][0]["places"]):
        place.update(cost=0.000698 + 0.00001 * number, rate=37.0 + number)
    page = visit(board, width=width)
    show(page, "quality")
    numbers = """() => [...document.querySelectorAll("#quality .plot")].map(plot =>
        [...plot.querySelectorAll(".role-axis-label")].map(axis => [...axis.querySelectorAll("text")]
            .filter(text => text.textContent && text.getAttribute("opacity") !== "0").length))"""
    counts = page.evaluate(numbers)
    assert len(counts) == 2
    assert all(min(axes) >= 2 for axes in counts), counts


def test_names_on_the_front_are_told_apart(visit: Visit, board: dict[str, Any]) -> None:
    """As in the pictures beside LEADERBOARD.md."""
    places = [place for place in board["tables"][0]["places"] if place["backend"] in ("encoder", "fast")]
    for number, place in enumerate(places):
        place.update(backend="same", how=f"trained on 9 en, a={number}", engine="encoder")
    page = visit(board)
    show(page, "quality")
    texts = page.locator("#quality .plot svg text").all_text_contents()
    assert len({text for text in texts if text.startswith("same · a=")}) > 1
    assert "same" not in texts


def test_print(visit: Visit, board: dict[str, Any]) -> None:
    """All charts, dark ink on white, no controls."""
    page = visit(board, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("() => [...document.querySelectorAll('.plot')].every(plot => plot.dataset.drawn === 'light')")
    assert page.locator("main .plot .vega[aria-label]").count() == 6
    controls = "button:not(.link, .sort), input, nav, .tools, main .bar"
    visible = "all => all.filter(one => one.checkVisibility()).map(one => one.outerHTML.slice(0, 80))"
    assert page.eval_on_selector_all(controls, visible) == []
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 1
    assert luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.05
    assert page.is_visible("#board svg.interval")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_function("() => document.querySelector('.plot').dataset.drawn === 'dark'")
    assert page.pdf()[:4] == b"%PDF"


def test_on_paper_the_ranking_is_whole_and_says_which_two_are_compared(visit: Visit, board: dict[str, Any]) -> None:
    table = board["tables"][0]
    for number in range(60):
        run = f"made-up-{number}"
        table["places"].append(copy.deepcopy(table["places"][0]) | {"backend": f"m{number}", "run": run, "runs": [run]})
        board["runs"][run] = board["runs"][table["places"][0]["run"]]
    page = visit(board)
    assert page.locator("#board tbody tr").count() == 50
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#board tbody tr").count() == len(table["places"])
    first = table["places"][0]
    assert f"A: {first['rank']}. {first['backend']} · {first['how']}" in page.inner_text("#differ .printed >> nth=0")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#board tbody tr").count() == 50
    assert not page.locator("#differ .printed").first.is_visible()


def test_without_scripts_it_leads_to_the_markdown(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board, java_script_enabled=False)
    assert "LEADERBOARD.md" in page.inner_text("noscript")
    assert page.get_attribute("noscript a", "href") == "LEADERBOARD.md"


def test_nothing_but_its_own_scripts_may_run(visit: Visit, board: dict[str, Any]) -> None:
    page = visit(board)
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.harm = true'}))")
    assert page.evaluate("window.harm === undefined")
    assert page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'kept back')") == "kept back"
    page.evaluate(
        "new Promise(done => { const image = new Image(); image.onerror = done; image.src = 'https://example.org/x.png' })"
    )
    assert [text for text in visit.said if "Content Security Policy" not in text] == []  # type: ignore[attr-defined]
    visit.said.clear()  # type: ignore[attr-defined]
    visit.asked.clear()  # type: ignore[attr-defined]  # the picture is asked for, and blocked before it leaves
