"""The parts of the page are drawn when they come near: what waits for them; and where the page is."""

from __future__ import annotations

from typing import Any

# What grows above a section may push it out of sight again, so it is scrolled to until it is drawn.
# A function, not an expression: that would be evaluated again and again, which the page's policy forbids.
DRAWN = """id => {
    const section = document.getElementById(id);
    const isMissing = plot => !plot.querySelector("svg");
    const missing = "stale" in section.dataset ? section : [...section.querySelectorAll(".plot")].find(isMissing);
    missing?.scrollIntoView({block: "nearest"});
    return !missing && (section.classList.contains("is-empty") || section.querySelector(".body")?.children.length !== 0);
}"""


def show(page: Any, section: str) -> str:
    """Scroll to a section, wait for it and its charts, return its words."""
    page.locator(f"#{section}").scroll_into_view_if_needed()
    page.wait_for_function(DRAWN, arg=section)
    return str(page.inner_text(f"#{section}"))


def finalize_predictions(page: Any) -> None:
    """Scroll through the page, so that all of it is drawn."""
    for section in page.eval_on_selector_all("section:has(> .controls)", "all => all.map(section => section.id)"):
        show(page, section)


def location(page: Any) -> str:
    """Asked of the page itself: playwright's `page.url` hears of changes within a page a moment later."""
    return str(page.evaluate("location.href"))
