"""What the page answers, from ranks, figures and settings of its entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import unescape
from typing import Any

import pytest

from harness.reports.page import html
from harness.reports.page.answer import Answer, parts_of
from harness.reports.page.model import Block, Board, Curve, Figures, Place


def place(backend: str, rank: int | None = 1, **changes: Any) -> Place:
    values = {"accuracy": (0.5, 0.4, 0.6)}
    known = {"how": "trained on 9 en", "made": "trained", "engine": "encoder", "machine": "desk", "values": values}
    known |= {"run": f"{backend}.{rank}.{changes.get('how')}", "runs": [], "seeds": [0]}
    found = Place.model_validate({"backend": backend, "rank": rank, **known, **changes})
    found.texts = {} if found.cost is None else {"cost": f"${found.cost}"}
    return found


def board(places: Sequence[Place], **changes: Any) -> Board:
    known: dict[str, Any] = {"key": "t0", "task": "toy", "lang": "en", "rows": "r", "n": 120, "size": "120 rows"}
    known |= {"multilabel": False, "labels": [], "headline": ["accuracy"], "metric": "accuracy", "few": None, "prompts": None}
    known |= {"prompted_sizes": "", "warnings": [], "outdated": False, "main": True, "panels": []}
    return Board(**{**known, **changes}, places=list(places))


def answer(*places: Place, boards: Sequence[Board] = (), curves: Sequence[Curve] = ()) -> Answer:
    return Answer(board(places), boards, curves)


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("trained on 9 en, batch_size=8", ["trained on 9 en", "batch_size=8"]),
        ('a, lora={"r": 8, "b": 1}, c=[1, 2], d="x, y"', ["a", 'lora={"r": 8, "b": 1}', "c=[1, 2]", 'd="x, y"']),
        ("strict · score", ["strict · score"]),
    ],
)
def test_settings_are_told_apart_but_not_their_values(how: str, parts: list[str]) -> None:
    assert parts_of(how) == parts


def test_settings_of_all_are_named_once() -> None:
    hows = [f"trained on {number} en, max_length=64, seed {number}" for number in range(2)]
    found = answer(*(place("a", how=how) for how in hows))
    assert found.common == ["max_length=64"]
    assert found.own(found.board.places[1]) == "trained on 1 en, seed 1"
    assert answer(place("a", how="x, y")).common == []


def test_first_tied_worse_and_unranked() -> None:
    found = answer(place("a"), place("b"), place("c", 3), place("d", None))
    assert found.first is not None
    assert (found.first.backend, len(found.level), len(found.ranked), found.unranked) == ("a", 2, 3, 1)
    assert answer(place("a", None)).first is None


def test_tied_backends_are_named_so_that_they_say_something() -> None:
    def tied(*names: str) -> list[tuple[str, str]]:
        return answer(*(place(name, how=f"way {number}") for number, name in enumerate(names))).tied

    assert tied("a", "b", "c") == [("b", ""), ("c", "")]
    assert tied("a", "a", "b") == [("a", "(way 1)"), ("b", "(way 2)")]
    assert tied("a", "a", "b", "b", "c") == [("a", "in 1 other configuration"), ("b", "in 2 configurations"), ("c", "")]
    assert tied(*"abcdefghij")[-2:] == [("g", ""), ("3 more backends", "")]


def test_price_speed_and_labels_decide_among_tied_entries() -> None:
    found = answer(
        place("a", rate=5.0, cost=0.2, labelled=9, busy=True),
        place("b", rate=5.0, cost=0.1, labelled=9),
        place("c", rate=1.0, labelled=12),
        place("d", rate=9.0, machine="other"),
        place("e", 5, rate=99.0, cost=0.0, labelled=0),
    )
    facts = [(fact.label, fact.machine, fact.place.backend, fact.equal, fact.busy) for fact in found.facts]
    assert facts == [
        ("Fastest", "desk", "a", 1, True),
        ("Cheapest", None, "b", 0, False),
        ("Fewest labels", None, "a", 1, False),
    ]
    assert found.busy == (1, 4)


def test_where_nothing_stands_out_there_is_no_fact() -> None:
    assert answer(place("a", rate=5.0), place("b", rate=5.0)).facts == []
    assert answer(place("a", rate=5.0), place("b", 2, rate=1.0)).facts == []


def test_the_best_of_each_kind_and_rows_that_hold_both() -> None:
    llm = place("llm", 2, made="prompted")
    both = board([place("a"), llm], rows="both")
    found = answer(place("a"), llm, place("llm2", 3, made="prompted"))
    assert [(made, best.backend) for made, best in found.kinds.items()] == [("trained", "a"), ("prompted", "llm")]
    alone = answer(place("a"), boards=[board([place("a")]), both])
    assert (len(alone.kinds), alone.with_both) == (1, both)
    assert answer(place("a"), boards=[board([place("a"), llm], outdated=True)]).with_both is None


def test_the_curve_of_the_same_rows_comes_before_others() -> None:
    def curve(lang: str, n: int) -> Curve:
        block = Block(chart="curve", words="", rows=[], figures=Figures(heads=[], lines=[]))
        return Curve(task="toy", lang=lang, n=n, block=block)

    curves = [curve("fr", 120), curve("en", 60), curve("en", 120)]
    assert answer(place("a"), curves=curves).curve is curves[2]
    assert answer(place("a"), curves=curves[:2]).curve is curves[1]
    assert answer(place("a"), curves=curves[:1]).curve is None


def test_the_words(golden: Callable[[str, str], None]) -> None:
    """Of each kind of answer, as text: in full, and in a line."""
    llm: dict[str, Any] = {"made": "prompted", "how": "strict · score", "size": "135M parameters", "labelled": 0}
    whole = board([place("a"), place("llm", 2, **llm)], rows="whole", size="500 rows")
    curve_of = Block(
        chart="curve", words="", rows=[], figures=Figures(heads=[], lines=[]), sentence="a reaches llm with 20 labels."
    )
    answers = {
        "alone": answer(place("a"), boards=[whole]),
        "better than the other": answer(place("a", size="118M parameters", labelled=900), place("llm", 2, **llm)),
        "better than each": answer(place("a"), place("b", 2), place("c", 3)),
        "tied": answer(
            place("a", cost=0.2, rate=9.0, busy=True),
            place("b", cost=0.1, rate=9.0),
            place("b", cost=0.3, rate=3.0, how="trained on 99 en"),
            place("llm", **llm),
            place("c", 5),
            place("d", None),
            curves=[Curve(task="toy", lang="en", n=120, block=curve_of)],
        ),
        "the others at chance": answer(place("a"), place("llm", None, **llm), place("c", None)),
        "all at chance": answer(place("a", None)),
        "few rows": Answer(board([place("a"), place("b")], few="only 30 rows", warnings=["a: too long texts"]), [], []),
    }
    words: Any = html.templates().get_template("answer.html.j2").module
    texts = [f"# {name}\n{words.answer(found)}\n# in a line\n{words.line(found)}" for name, found in answers.items()]
    text = re.sub(r"<(?:p|dt|dl|/dl|div|li)\b[^>]*>", "\n", "\n\n".join(texts))
    text = unescape(re.sub(r"<[^>]+>", "", text))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    golden("reports/page-answer", re.sub(r"\n\n+", "\n", "\n".join(lines)).replace("\n#", "\n\n#").strip() + "\n")
