"""Parsers read what is certain, refuse the rest with a reason, and survive any text."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.core.errors import PromptError
from harness.core.types import Label, LabelKind, LabelSpace
from harness.parsing.parsers import REASONS, Parser, make_parser
from harness.specs.parser_spec import ParserSpec

STARS = LabelSpace(LabelKind.ORDINAL, ("awful", "poor", "fair", "good", "great"))
ELEVEN = LabelSpace(LabelKind.ORDINAL, tuple("abcdefghijk"))
MOODS = LabelSpace(LabelKind.NOMINAL, ("negative", "very negative", "positive", "card_arrival"))
JAPANESE = LabelSpace(LabelKind.NOMINAL, ("ポジティブ", "ネガティブ", "中立"))
TAGS = LabelSpace(LabelKind.MULTILABEL, ("joy", "anger", "fear of loss"))


def parser(type_: str, labels: LabelSpace = STARS, **options: object) -> Parser:
    return make_parser(ParserSpec.model_validate({"type": type_, **options}), labels)


def outcome(reader: Parser, text: str) -> Label | str | None:
    parsed = reader.parse(text)
    assert (parsed.label is None) != (parsed.reason is None)
    assert parsed.reason is None or parsed.reason in REASONS
    return parsed.label if parsed.reason is None else parsed.reason


ZERO_TO_FOUR: list[tuple[str, int | str]] = [
    # the leading answer
    ("4", 4),
    (" 4\n\nExplanation: people who gave 5 stars liked 2 things", 4),
    ("0", 0),
    ("4.", 4),
    ("04", 4),
    ("4!", 4),
    ("4;", 4),
    ("３", 3),
    ("٣", 3),
    ("३", 3),
    ("4️⃣", 4),
    ("4\u200b", 4),
    ("\ufeff2", 2),
    ('"2"', 2),
    ("“2”", 2),
    ("「2」", 2),
    ("`2`", 2),
    ("**2**", 2),
    ("_2_", 2),
    ("# 2", 2),
    ("> 2", 2),
    ("(2)", 2),
    ("[3]", 3),
    ("【3】", 3),
    ("{3}", 3),
    ("3.0", 3),
    ("3,00", 3),
    ("+3", 3),
    ("-0", 0),
    ("three", 3),
    ("Three.", 3),
    ("三", 3),
    ("二。", 2),
    ("〇", 0),
    ("three\nIt has 2 flaws", 3),
    ("4 stars", 4),
    ("1 star", 1),
    ("4 Sterne", 4),
    ("4 étoiles", 4),
    ("4 étoiles", 4),
    ("4 estrellas", 4),
    ("4 points.", 4),
    ("3 点", 3),
    ("３点。", 3),
    ("3点です。", 3),
    ("4つ星", 4),
    ("星4つ", 4),
    ("4星", 4),
    ("4分", 4),
    ("4점", 4),
    ("3점입니다.", 3),
    ("4★", 4),
    ("```\n4\n```", 4),
    ("```json\n4\n```", 4),
    ("4\r\n\r\nBecause 2 of 3 broke.", 4),
    ("\n\n\t 4\n5 buttons are missing", 4),
    # our own scale
    ("3/4", 3),
    ("３／４", 3),
    ("**3**/4", 3),
    ("3 / 4 stars", 3),
    ("3 out of 4", 3),
    ("3 (out of 4)", 3),
    ("3 stars out of 4", 3),
    ("3 von 4 Sternen", 3),
    ("3 étoiles sur 4", 3),
    ("3 de 4", 3),
    ("4 (on a scale of 0-4)", 4),
    ("4 (0-4)", 4),
    ("Auf einer Skala von 0 bis 4: 3", "no_answer"),
    ("Rating (0-4): 3", 3),
    ("On a scale from 0 to 4, I would rate this review as a 3.", 3),
    # thinking
    ("<think>maybe 5 stars, or 2...</think>1", 1),
    ("maybe 5, or 2\n</think>\n\n1", 1),
    ("<THINKING>2</THINKING>1", 1),
    ("[THINK]2[/THINK]1", 1),
    ("<think>2</think><think>3</think>1", 1),
    ("1<think>2</think>", 1),
    ("<think>the answer is 4", "unfinished_thinking"),
    ("4\n<think>hm", "unfinished_thinking"),
    ("<think>4</think>", "empty"),
    # announced
    ("Score: 4", 4),
    ("score:4", 4),
    ("SCORE = 4", 4),
    ("**Score:** ３", 3),
    ("**Score**: 3", 3),
    ("*Final answer:* **3**", 3),
    ("Answer:\n4", 4),
    ("Sure! Here it is:\n\n4", 4),
    ("The score is 3.", 3),
    ("The rating for this review would be 3.", 3),
    ("My rating of the product is a 3", 3),
    ("Score: 4 because 2 of the 3 buttons broke", 4),
    ("Score: 4 ... because 2 of the 3 buttons broke", 4),
    ("Score: 4 (2 of 3 buttons broke)", 4),
    ("2 of 3 buttons broke.\nScore: 4", 4),
    ("Score: 4. Rating: 4/4", 4),
    ("Score: 3 stars", 3),
    ("Score: three", 3),
    ("0 = bad, 4 = good\nScore: 3", 3),
    ("Score: 4\nConfidence score: 3", 4),
    ("Bewertung: 3 Sterne", 3),
    ("Sterne: 3", 3),
    ("Die Bewertung lautet 3.", 3),
    ("Note : 3", 3),
    ("La note est 3.", 3),
    ("Puntuación: 4", 4),
    ("Puntuacio\u0301n: 4", 4),
    ("La calificación es 2.", 2),
    ("評価：4", 4),
    ("評価は４です。", 4),
    ("このレビューの評価は3点です", 3),
    ("スコア: 3", 3),
    ("点数：２", 2),
    ("评分：4", 4),
    ("评分为4，因为很好", 4),
    ("得分是 3。", 3),
    ("점수: 3", 3),
    ("점수는 3입니다", 3),
    ("별점: 3점", 3),
    ("답: 3", 3),
    ('{"score": 2}', 2),
    ('{"score": "2", "explanation": "5 people"}', 2),
    ('```json\n{"score": 2}\n```', 2),
    ("<answer>3</answer>", 3),
    ("\\boxed{3}", 3),
    ("$$\\boxed{3}$$", 3),
    # one number that opens the answer
    ("4. I rate it 4", 4),
    ("4 - a great product", 4),
    ("4, because it works", 4),
    ("4 because it works", 4),
    ("4: fine", 4),
    ("4 (fine)", 4),
    ("4 (good)", "ambiguous"),
    ("4: good", "ambiguous"),
    ("3 (good)", 3),
    ("4 stars. Works.", 4),
    ("I'd rate it 4.", 4),
    ("I would give this 3 stars.", 3),
    # refused
    ("", "empty"),
    (" \n\t\u3000", "empty"),
    ("***", "no_answer"),
    ("good", "no_answer"),
    ("★★★", "no_answer"),
    ("⭐⭐⭐⭐", "no_answer"),
    ("v2", "no_answer"),
    ("mp3", "no_answer"),
    ("iPhone12", "no_answer"),
    ("GPT-4", "no_answer"),
    ("2nd", "no_answer"),
    ("The score is not 3", "no_answer"),
    ("評価は4ではない", "no_answer"),
    ("評価は4ですか", "no_answer"),
    ("評価は4以上", "no_answer"),
    ("评分不是4", "no_answer"),
    ("Score: 1 out of 4 people", "no_answer"),
    ("Score: 3 years", "no_answer"),
    ("3D", "no_answer"),
    ("12abc", "no_answer"),
    ("The 3 buttons broke", "no_answer"),
    ("3 buttons broke", "no_answer"),
    ("Note: 3 buttons broke", "no_answer"),
    ("1. The product is good.", "no_answer"),
    ("1. Good.\n2. Cheap.", "ambiguous"),
    ("I can't give this 4 stars.", "no_answer"),
    ("I would rate it 4 if it worked.", "no_answer"),
    ("The reviewer says “I give it 4 stars”", "no_answer"),
    ("A score of 4 would be too high", "no_answer"),
    ("confidence score: 4", "no_answer"),
    ("It was three years old", "no_answer"),
    ("$4", "no_answer"),
    ("- 4", "no_answer"),
    ("4?", "no_answer"),
    ("~4", "no_answer"),
    ("4+", "no_answer"),
    ("5", "out_of_range"),
    ("-1", "out_of_range"),
    ("−1", "out_of_range"),
    ("－１", "out_of_range"),
    ("10", "out_of_range"),
    ("Score: -1", "out_of_range"),
    ("Score: 7", "out_of_range"),
    ("9" * 5000, "out_of_range"),
    ("3.5", "not_integer"),
    ("3,5", "not_integer"),
    ("３．５", "not_integer"),
    (".5", "not_integer"),
    ("3½", "not_integer"),
    ("½", "not_integer"),
    ("4²", "not_integer"),
    ("②", "not_integer"),
    ("1,000", "not_integer"),
    ("1.000", "not_integer"),
    ("1.2.3", "not_integer"),
    ("Score: 3.5", "not_integer"),
    ("4/10", "wrong_scale"),
    ("4/5", "wrong_scale"),
    ("4 out of 10", "wrong_scale"),
    ("Score: 4/10", "wrong_scale"),
    ("4%", "wrong_scale"),
    ("4 (on a scale of 1-5)", "wrong_scale"),
    ("5点満点中4点", "wrong_scale"),
    ("4分（满分5分）", "wrong_scale"),
    ("2-3", "ambiguous"),
    ("2–3", "ambiguous"),
    ("2～3", "ambiguous"),
    ("2、0", "ambiguous"),
    ("2 or 3", "ambiguous"),
    ("2か3", "ambiguous"),
    ("2 3", "ambiguous"),
    ("2**3", "ambiguous"),
    ("2\n3", "ambiguous"),
    ("4\n\nScore: 3", "ambiguous"),
    ("Score: 4\nScore: 3", "ambiguous"),
    ("Score: 2-3", "ambiguous"),
    ("Score: 2 or 3", "ambiguous"),
    ("Score: 2, 3", "ambiguous"),
    ("Score: 2 3", "ambiguous"),
    ("Score: 2 oder 3", "ambiguous"),
    ("Score: 2-3\nRating: 2", "ambiguous"),
    ("Score: 3?", "ambiguous"),
    ("[3, 4]", "ambiguous"),
    ("4 because 2 of the 3 buttons broke", "ambiguous"),
    ("0: bad\n1: good", "ambiguous"),
]


@pytest.mark.parametrize(("text", "expected"), ZERO_TO_FOUR)
def test_integer_reads_or_refuses(text: str, expected: int | str) -> None:
    assert outcome(parser("integer"), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 0),
        ("5", 4),
        ("0", "out_of_range"),
        ("3/5", 2),
        ("4 de 5", 3),
        ("4 von 5 Sternen", 3),
        ("5点満点中4点", 3),
        ("4点（5点満点）", 3),
        ("5段階評価で4", 3),
        ("4分（满分5分）", 3),
        ("满分5分，评分：4", 3),
        ("5점 만점에 4점", 3),
        ("4 (1 to 5)", 3),
        ("4 (on a scale of 0-4)", "wrong_scale"),
        ("3/4", "wrong_scale"),
    ],
)
def test_integer_that_starts_at_one(text: str, expected: int | str) -> None:
    assert outcome(parser("integer", first=1), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("10", 10), ("1", 1), ("10/10", 10), ("11", "out_of_range"), ("1 0", "ambiguous")]
)
def test_ten_is_one_number(text: str, expected: int | str) -> None:
    assert outcome(parser("integer", ELEVEN), text) == expected


def test_negative_scale() -> None:
    reader = parser("integer", first=-2)
    assert [outcome(reader, text) for text in ("-2", "Score: -1", "+2", "-3")] == [0, 1, 4, "out_of_range"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("positive", 2),
        ("Positive.", 2),
        ("ＰＯＳＩＴＩＶＥ", 2),
        ("**positive**", 2),
        ('"positive"', 2),
        ("```\npositive\n```", 2),
        ("negative", 0),
        ("Very Negative", 1),
        ("It is very negative.", 1),
        ("card arrival", 3),
        ("Card_Arrival", 3),
        ("The sentiment is positive.", 2),
        ("the class is positive", 2),
        ("Label: positive", 2),
        ("Sentiment:\npositive", 2),
        ("positive\n\nNothing in it is negative.", 2),
        ("Nothing is negative in it.\nLabel: positive", 2),
        ("Stimmung: positive", 2),
        ("答案：positive", 2),
        ("感情はpositiveです", 2),
        ("positive입니다", 2),
        ("<think>negative?</think>positive", 2),
        ("positive, not negative", "ambiguous"),
        ("negative or very negative", "ambiguous"),
        ("Label: positive or negative", "ambiguous"),
        ("positive\nLabel: negative", "ambiguous"),
        ("not positive", "ambiguous"),
        ("It isn't positive", "ambiguous"),
        ("non-positive", "ambiguous"),
        ("non_positive", "ambiguous"),
        ("nicht positive", "ambiguous"),
        ("不是positive", "ambiguous"),
        ("positiveではない", "ambiguous"),
        ("positive?", "ambiguous"),
        ("Label: mixed", "unknown_label"),
        ("Label: mixed\nso not positive", "unknown_label"),
        ("positively", "unknown_label"),
        ("seropositive", "unknown_label"),
        ("2", "unknown_label"),
        ("", "empty"),
        ("<think>positive", "unfinished_thinking"),
    ],
)
def test_label_names(text: str, expected: int | str) -> None:
    assert outcome(parser("label", MOODS), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ポジティブ", 0),
        ("ﾎﾟｼﾞﾃｨﾌﾞ", 0),
        ("「ネガティブ」です。", 1),
        ("感情：中立", 2),
        ("これは非常にポジティブです", 0),
        ("ポジティブではない", "ambiguous"),
        ("ポジティブでもネガティブでもある", "ambiguous"),
        ("不明", "unknown_label"),
    ],
)
def test_label_names_of_a_script_without_blanks(text: str, expected: int | str) -> None:
    assert outcome(parser("label", JAPANESE), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 4),
        ("3.", 2),
        ("-1", "unknown_label"),
        ("3/5", "unknown_label"),
        ("4.5", "unknown_label"),
        ("2-3", "unknown_label"),
    ],
)
def test_label_names_that_are_numbers(text: str, expected: int | str) -> None:
    assert outcome(parser("label", LabelSpace(LabelKind.ORDINAL, tuple("12345"))), text) == expected


def test_overlapping_names_are_ambiguous() -> None:
    reader = parser("label", LabelSpace(LabelKind.NOMINAL, ("red wine", "wine bottle")))
    assert outcome(reader, "a red wine bottle") == "ambiguous"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"score": 2}', 2),
        ('{"Score": 2}', 2),
        ('{"score": "2"}', 2),
        ('{"score": "２"}', 2),
        ('{"score": 2.0}', 2),
        ('{"score": "3/4"}', 3),
        ('{"score": "Good"}', 3),
        ('Here:\n```json\n{"score": 2, "why": "5 { stars"}\n```\nDone.', 2),
        ('{"why": "a \\" } {", "score": 1}', 1),
        ('{"score": 2} {"score": 2}', 2),
        ('{"note": 1} {"score": 2}', 2),
        ('<think>{"score": 1}</think>{"score": 2}', 2),
        ('{"score": 2} {"score": 3}', "ambiguous"),
        ('{"score": 2, "score": 3}', "ambiguous"),
        ('{"score": "2 or 3"}', "unknown_label"),
        ('{"score": 7}', "out_of_range"),
        ('{"score": -1}', "out_of_range"),
        ('{"score": 2.5}', "not_integer"),
        ('{"score": 1e0}', "not_integer"),
        ('{"score": "4/10"}', "wrong_scale"),
        ('{"score": "superb"}', "unknown_label"),
        ('{"score": ""}', "empty"),
        ('{"score": null}', "wrong_type"),
        ('{"score": true}', "wrong_type"),
        ('{"score": [2]}', "wrong_type"),
        ('{"score": {"score": 2}}', "wrong_type"),
        ('{"score": NaN}', "bad_json"),
        ('{"result": {"score": 2}}', "missing_key"),
        ("{}", "missing_key"),
        ("{'score': 2}", 2),
        ('{"score": 2', "bad_json"),
        ('{"score": 2} {"score": ', "bad_json"),
        ("2", "no_answer"),
        ("", "empty"),
    ],
)
def test_json(text: str, expected: int | str) -> None:
    assert outcome(parser("json"), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["joy"]', (0,)),
        ('["Fear of Loss", "joy"]', (0, 2)),
        ('["joy", "joy", "JOY"]', (0,)),
        ("[]", ()),
        ('{"labels": ["anger"]}', (1,)),
        ('Sure:\n```json\n["anger"]\n```', (1,)),
        ('["joy"]\n["joy"]', (0,)),
        ('["joy"]\n["anger"]', "ambiguous"),
        ('["joy", "hunger"]', "unknown_label"),
        ("[0]", "unknown_label"),
        ("[null]", "wrong_type"),
        ('{"labels": "joy"}', (0,)),
        ('{"tags": ["joy"]}', "missing_key"),
        ("[joy]", (0,)),
        ('["joy"', "bad_json"),
        ("joy", "no_answer"),
        ("", "empty"),
    ],
)
def test_json_list(text: str, expected: tuple[int, ...] | str) -> None:
    assert outcome(parser("json_list", TAGS), text) == expected


def test_spec_shorthand_and_defaults() -> None:
    assert ParserSpec.model_validate("integer") == ParserSpec(type="integer")
    assert ParserSpec.model_validate("json").key == "score"
    assert ParserSpec.model_validate("json_list").key == "labels"
    assert ParserSpec.model_validate({"type": "json_list", "key": "tags"}).key == "tags"


@pytest.mark.parametrize(
    "data",
    [
        "int",
        {"type": "integer", "frist": 1},
        {"type": "integer", "key": "a"},
        {"type": "label", "first": 1},
        {"type": "json", "key": ""},
        {},
        3,
    ],
)
def test_spec_refuses(data: object) -> None:
    with pytest.raises(ValidationError):
        ParserSpec.model_validate(data)


@pytest.mark.parametrize(
    ("type_", "labels"),
    [
        ("integer", TAGS),
        ("label", TAGS),
        ("json", TAGS),
        ("json_list", STARS),
        ("integer", LabelSpace(LabelKind.ORDINAL, tuple("12345"))),  # "5" would be out of range, "4" be read as "5"
        ("json", LabelSpace(LabelKind.ORDINAL, tuple("12345"))),
        ("label", LabelSpace(LabelKind.NOMINAL, ("a", "Ａ"))),
        ("label", LabelSpace(LabelKind.NOMINAL, ("a", " "))),
        ("label", LabelSpace(LabelKind.NOMINAL, ("a", "<think>"))),
        ("integer", LabelSpace(LabelKind.NOMINAL, ())),
    ],
)
def test_parser_that_cannot_serve_the_labels(type_: str, labels: LabelSpace) -> None:
    with pytest.raises(PromptError):
        parser(type_, labels)


def test_choices_are_the_answers_in_order() -> None:
    assert parser("integer", first=1).choices() == ["1", "2", "3", "4", "5"]
    assert parser("label").choices() == list(STARS.names)
    assert parser("json", key="s").choices() == ['{"s": 0}', '{"s": 1}', '{"s": 2}', '{"s": 3}', '{"s": 4}']
    assert parser("json_list", TAGS).choices() is None
    assert parser("integer", LabelSpace(LabelKind.ORDINAL, tuple("12345")), first=1).choices() == ["1", "2", "3", "4", "5"]


ALL = [
    parser("integer"),
    parser("integer", ELEVEN, first=-3),
    parser("label", MOODS),
    parser("json"),
    parser("json_list", TAGS),
]
# Arbitrary characters rarely make anything that looks like an answer: mix in what parsers care about.
CHARACTERS = "0123459.,/-~?:=()[]{}\"'`*\n ★½²①三点분점\ud800\u0300\u0316\x00\ufdfaİ\u2028"
WORDS = [
    "Score",
    "評価",
    "is",
    "or",
    "scale",
    "positive",
    "negative",
    "not",
    "<think>",
    "</think>",
    "```json",
    '{"score":',
    '["joy"]',
]
PIECES = st.sampled_from([*CHARACTERS, *WORDS, "out of"])
ANY_TEXT = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.characters()), max_size=30).map("".join))


@pytest.mark.slow
@given(ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_label_in_range_or_a_reason(text: str) -> None:
    for reader in ALL:
        label = outcome(reader, text)
        if isinstance(label, int):
            assert 0 <= label < 11
            assert outcome(reader, reader.answer(label)) == label


NAMES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6)


@pytest.mark.parametrize("key", ["$0$", "**stars**", "`stars`", "<b>stars</b>"])
def test_a_key_with_markup(key: str) -> None:
    reader = make_parser(
        ParserSpec.model_validate({"type": "json", "first": 0, "key": key}), LabelSpace(LabelKind.NOMINAL, ("a", "b"))
    )
    assert [outcome(reader, choice) for choice in reader.choices() or []] == [0, 1]


@pytest.mark.slow
@example(["0"], 0, "$0$")
@given(NAMES, st.integers(-20, 20), st.text(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_canonical_answers_are_read_back(names: list[str], first: int, key: str) -> None:
    kinds: list[tuple[dict[str, object], LabelKind]] = [
        ({"type": "integer", "first": first}, LabelKind.ORDINAL),
        ({"type": "label"}, LabelKind.NOMINAL),
        ({"type": "json", "first": first, "key": key}, LabelKind.NOMINAL),
    ]
    for spec, kind in kinds:
        try:
            reader = make_parser(ParserSpec.model_validate(spec), LabelSpace(kind, tuple(names)))
        except PromptError:
            continue  # names that can't be told apart
        choices = reader.choices()
        assert choices == [reader.answer(label) for label in range(len(names))]
        assert [outcome(reader, choice) for choice in choices] == list(range(len(names)))


@pytest.mark.slow
@given(NAMES, st.data())
@settings(max_examples=100, deadline=None)
def test_label_lists_are_read_back(names: list[str], data: st.DataObject) -> None:
    try:
        reader = parser("json_list", LabelSpace(LabelKind.MULTILABEL, tuple(names)))
    except PromptError:
        return
    label = tuple(sorted(data.draw(st.sets(st.integers(0, len(names) - 1)))))
    assert outcome(reader, reader.answer(label)) == label


DECORATIONS = [
    "{}",
    " {} ",
    "\n\n{}\n",
    "\u3000{}",
    "**{}**",
    "`{}`",
    '"{}"',
    "“{}”",
    "```\n{}\n```",
    "{}.",
    "<think>9 not</think>{}",
    "# {}",
]


@pytest.mark.parametrize("frame", DECORATIONS)
@pytest.mark.parametrize(("type_", "labels"), [("integer", STARS), ("label", MOODS), ("json", STARS)])
def test_decoration_changes_nothing(frame: str, type_: str, labels: LabelSpace) -> None:
    reader = parser(type_, labels)
    for index in range(len(labels)):
        assert outcome(reader, frame.format(reader.answer(index))) == index


# Without digits, marker words (they need one of ":=") and label names, an explanation holds nothing to read.
EXPLANATION = st.text(
    st.characters(exclude_categories=["N", "C"], exclude_characters=':=<>[]{}`"：＝是为為は가는은が'), max_size=60
)


@given(st.integers(0, 4), EXPLANATION.filter(lambda text: not any(word in text.lower() for word in (" is", " est"))))
@settings(max_examples=150, deadline=None)
def test_an_explanation_without_digits_changes_nothing(index: int, explanation: str) -> None:
    for reader in (parser("integer"), parser("json"), parser("label")):
        assert outcome(reader, f"{reader.answer(index)}\n{explanation}") == index


MEGABYTE = 1_000_000
SHAPE = 60_000  # characters: enough to make a quadratic algorithm stall, few enough for a fast suite
HOSTILE: dict[str, Callable[[], str]] = {
    unit.strip() or repr(unit): (lambda unit=unit: unit * (SHAPE // len(unit)))  # type: ignore[misc]
    for unit in [
        *"91.,-/[{(\"'\\ \n*`_#<>a★三½\u0300\ufdfa",
        "1 ",
        "1\n",
        "1,",
        "1.",
        "a1",
        "[]",
        "{}",
        '{"',
        '["',
        '{"score":',
        '{"score": 1} ',
        "<think>",
        "</think>",
        "<think",
        "```",
        "```json",
        "score",
        "score ",
        "score: ",
        "score for the ",
        "score: 1 ",
        "Score: 1\n",
        "score (",
        "(0-4)",
        "(0-",
        "scale 0-",
        "1 out of ",
        "i rate it ",
        "i rate it 1 ",
        "not positive ",
        "very ",
        "card ",
        "label: ",
        "label: positive ",
        "positive\n",
        "\u0316\u0300",
        "_a",
    ]
}
HOSTILE["one marker, then quotes"] = lambda: "score" + '"' * SHAPE
HOSTILE["one number, then blanks"] = lambda: "1" + " " * SHAPE + "x"
HOSTILE["combining marks out of order"] = lambda: "a" + "\u0300" * (SHAPE // 2) + "\u0316" * (SHAPE // 2)
HOSTILE["digits in JSON"] = lambda: '{"score": ' + "9" * SHAPE + "}"
HOSTILE["brackets in JSON"] = lambda: '{"score": ' + "[" * 100_000 + "]" * 100_000 + "}"
HOSTILE["quotes in JSON"] = lambda: json.dumps({"score": '"' * SHAPE})


@pytest.mark.slow
@pytest.mark.parametrize("shape", HOSTILE)
def test_any_shape_of_answer_returns(shape: str) -> None:
    """A quadratic algorithm would hang here."""
    text = HOSTILE[shape]()
    for reader in ALL:
        outcome(reader, text)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["9", "[", '"', "<think>", "score: "])
@pytest.mark.parametrize("type_", ["integer", "json"])
def test_a_megabyte_returns(unit: str, type_: str) -> None:
    outcome(parser(type_), unit * (MEGABYTE // len(unit)))


def test_a_reason_never_quotes_the_model() -> None:
    for reader in ALL:
        assert reader.parse("secret 77 {secret: 78}").reason in REASONS
