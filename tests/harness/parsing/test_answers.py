"""Tables of answers in many languages: no wrong reading, and what is readable is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from answers import PHRASES, Answer, Phrases, lists, names, numbers, objects
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.types import Label, LabelKind, LabelSpace
from harness.parsing.parsers import Parser, make_parser
from harness.specs.parser_spec import ParserSpec

FIVE = LabelSpace(LabelKind.ORDINAL, ("awful", "poor", "fair", "good", "great"))
MOODS = ["negative", "neutral", "positive"]
REFUSED = {
    "hi": {"रेटिंग 4 है"},  # announced without a colon, with the verb at the end
}
"""Readable answers that are refused, by language: known, and few."""


def label_parser(labels: list[str]) -> Parser:
    return _label_parser(tuple(labels))


@cache
def _label_parser(labels: tuple[str, ...]) -> Parser:
    """A parser compiles patterns: one serves all tests of its labels."""
    return make_parser(ParserSpec(type="label"), LabelSpace(LabelKind.NOMINAL, labels))


def number_parser(type_: str) -> Parser:
    return make_parser(ParserSpec.model_validate({"type": type_, "first": 1}), FIVE)


def list_parser(p: Phrases) -> Parser:
    return make_parser(
        ParserSpec.model_validate("json_list"), LabelSpace(LabelKind.MULTILABEL, (p.positive, p.negative, p.neutral))
    )


TABLES: dict[str, tuple[Callable[[Phrases], Iterator[Answer]], Callable[[Phrases], Parser], int]] = {
    "integer": (numbers, lambda p: number_parser("integer"), 1),
    "label": (names, lambda p: label_parser([p.negative, p.neutral, p.positive]), 0),
    "json": (objects, lambda p: number_parser("json"), 1),
    "json_list": (lists, list_parser, 0),
}


@pytest.mark.parametrize("lang", PHRASES)
@pytest.mark.parametrize("table", TABLES)
def test_answers_in_many_languages(table: str, lang: str) -> None:
    rows, parser, first = TABLES[table]
    phrases = PHRASES[lang]
    reader = parser(phrases)
    differ = []
    for answer in rows(phrases):
        label: Label | None = reader.parse(answer.text).label
        said = label + first if isinstance(label, int) else label
        if said != answer.right and not (said is None and answer.text in REFUSED.get(lang, ())):
            differ.append((answer, said))
    assert differ == []


def test_the_tables_are_large() -> None:
    counts = {table: sum(len(list(rows(p))) for p in PHRASES.values()) for table, (rows, _, _) in TABLES.items()}
    assert min(counts.values()) > 500


STATED: list[tuple[list[str], str, list[str]]] = [
    (MOODS, "positive", [
        "Sure! The sentiment is positive.", "**Positive**\n\nThe customer loves it.",
        "The sentiment of the review is **positive**.",
        "Based on the text, the sentiment is positive.", "The correct label is: positive", "Overall, the review is positive.",
        "I'd say positive.", "Sentiment → positive", 'label = "positive"', "Positive - the reviewer praises the battery.",
        "The review expresses a positive sentiment.", "My answer: positive", "Answer: **Positive** (the user is happy)",
        "Final answer: positive", "The text can be classified as positive.", "This is a positive review.", "1. positive",
        "Positive sentiment", 'The answer is "positive" because the user is happy.', "<answer>positive</answer>",
        "\\boxed{positive}", "\\boxed{\\text{positive}}", "It's positive.", "POSITIVE!!!",
        "Label: Positive\nExplanation: nothing negative here.", "Classification: positive, since the author recommends it.",
        "The author's sentiment is positive.", "Let's think. The buyer is happy. So the label is positive.",
        "The category that fits best is positive.", "I think it is positive", "Category: positive.\nConfidence: 0.9",
        "The overall sentiment expressed in this review is positive.", "Option: positive",
        "Labels: negative, neutral, positive\nAnswer: positive", "Sentiment (negative/neutral/positive): positive",
    ]),
    (["positiv", "neutral", "negativ"], "positiv", [
        "Die Rezension ist positiv.", "Antwort: **positiv**, weil der Kunde zufrieden ist.",
        "Ich würde die Rezension als positiv einstufen.", "Das ist positiv.", "Das Label lautet positiv.",
    ]),
    (["positif", "neutre", "négatif"], "positif", ["L'avis est positif.", "Catégorie : positif", "Cet avis est positif.",
    "C'est positif"]),
    (["ポジティブ", "中立", "ネガティブ"], "ポジティブ", [
        "ポジティブです。", "このレビューの感情はポジティブです。", "答えはポジティブです。", "「ポジティブ」",
        "ラベル: ポジティブ\n理由: 満足しているため", "分類結果：ポジティブ", "ポジティブ（購入者が満足しているため）",
    ]),
    (["正面", "中性", "负面"], "正面", ["该评论的情感是正面的。", "答案是正面", "情感倾向为正面，因为买家很满意。",
    "类别：**正面**"]),
    (["긍정", "중립", "부정"], "긍정", ["이 리뷰의 감정은 긍정입니다.", "정답은 긍정입니다.", "이 리뷰는 긍정적입니다."]),
    (["olumlu", "nötr", "olumsuz"], "olumlu", ["Etiket: OLUMLU", "Duygu durumu: olumlu, çünkü müşteri memnun."]),
    (["iyi", "kötü"], "iyi", ["İyi", "İYİ", "i̇yi"]),
    (["evet", "hayır"], "hayır", ["HAYIR", "Hayır.", "Cevap: hayır"]),
    (["yes", "no"], "no", [
        "No.", "No, it does not contain hate speech.", "Answer: No", "The answer is no.", "No, the text is fine.",
        "No because it is polite",
    ]),
    (["A", "B", "C", "D"], "B", [
        "B)", "(B)", "Answer: B", "The answer is B.", "Option B", "B. Sports", "B: sports", "**B** - sports",
        "The correct answer is (B).",
        "Answer: (B) Sports", "I would choose B.", "\\boxed{B}", "B: because a customer wrote it", "b",
    ]),
    (["card_arrival", "card_lost"], "card_arrival", [
        "Card arrival", "Intent: card_arrival", "The intent is `card_arrival`.", "The customer's intent is card_arrival.",
        "card-arrival",
    ]),
    (["toxic", "non-toxic"], "non-toxic", ["non\u2011toxic", "Non\u2013toxic", "Non toxic", "non_toxic", "NON-TOXIC"]),
    (["don't know", "yes", "no"], "don't know", ["don\u2019t know", "I don\u2019t know.", "Don`t know".replace("`", "\u00b4")]),
    (["e-mail", "phone", "walk-in"], "walk-in", ["walk\u2011in", "Walk in", "walk\u00adin".replace("\u00ad", "-\u00ad")]),
    (["0-17", "18-24", "25-34"], "18-24", ["18\u201324", "18 - 24", "Age group: 18-24".replace("Age group", "Category")]),
    (["very negative", "negative", "positive", "very positive"], "very positive", ["very-positive", "It is very positive.",
    "Label: Very Positive"]),
    (["1 star", "2 stars", "4 stars", "5 stars"], "4 stars", ["4 stars", "Rating: 4 stars",
    "I would give it 4 stars.".replace("give it", "say")]),
]  # fmt: skip

NOT_STATED: list[tuple[list[str], list[str]]] = [
    (MOODS, [
        "not positive", "anything but positive", "hardly positive", "far from positive",
        "The text is neither positive nor negative",
        "I can't say whether it is positive.", "It could be positive.", "The opposite of positive", "positive-ish",
        "un positive",
        "The label is not positive.", "It is not the case that the sentiment is positive.",
        "I doubt the sentiment is positive.",
        "Positive? No.", "Positive... no, negative", "At first positive, then negative", "positive: no",
        "Positive: 3, Negative: 2",
        "less positive", "If positive, say so", "Sentiment: positive/negative", "The review isn't positive.",
        "The sentiment is anything but positive.", "Positive aspects: price.", "Label: [positive|negative|neutral]",
        "positive, maybe", "Positive, but sarcastic", "positive\nActually, negative.", "positive\nLabel: negative",
        "seropositive",
        "Sentiment: mostly positive", "The wrong label is positive", "Confidence: positive", "more positive than negative",
    ]),
    (["yes", "no"], [
        "There is no clear answer.", "No answer.", "No idea", "No, I can't tell.", "Yes, I can help with that.",
        "No comment", "no/yes",
        "Yes and no", "Answer: no idea", "Nobody knows",
    ]),
    (["A", "B", "C", "D"], [
        "This is a review of a product.", "It is a difficult question.", "As a language model I cannot answer.",
        "Category: a mix of things", "The answer is a bit unclear.", "A or B", "A/B", "A, B", "This is a review.",
        "A review", "Plan B failed",
    ]),
    (["C", "C++", "Go", "Java"], ["Let me go through it.", "C ++", "C/C++"]),
    (["en", "de", "is", "am", "no"], ["I am not sure", "The language is unknown.", "It is difficult.", "no language"]),
    (["A1", "A2", "B1", "B2"], ["B1/B2", "B2+", "A1-A2", "between A1 and A2"]),
    (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], [
        "4 out of 5 stars", "3 of 5 stars", "I would give 4 of the 5 stars", "2 or 3 stars", "2 to 3 stars", "2 - 3 stars",
        "between 2 and 3 stars", "more than 2 stars", "less than 3 stars", "at least 4 stars",
        "It would be 5 stars if it had not broken",
        "maximum 5 stars; mine: four", "up to 5 stars",
    ]),
    (["2019", "2020", "2021"], ["$2020", "2020-2021", "12020", "2020.5"]),
    (["low", "medium", "high"], ["Confidence: high", "The risk is not high", "higher", "high or medium"]),
    (["good", "bad", "ok"], ["OK, here is my answer:", "Good question!", "Good, let me think about it.", "not bad",
    "Not good, not bad"]),
    (["other", "none", "sports"], ["None of the above", "other than sports", "none of these"]),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "name", "text"), [(labels, name, text) for labels, name, texts in STATED for text in texts])
def test_a_name_that_is_stated(labels: list[str], name: str, text: str) -> None:
    assert label_parser(labels).parse(text).label == labels.index(name)


@pytest.mark.parametrize(("labels", "text"), [(labels, text) for labels, texts in NOT_STATED for text in texts])
def test_a_name_that_is_not_stated(labels: list[str], text: str) -> None:
    assert label_parser(labels).parse(text).label is None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("$3$", 3), ("3<|im_end|>", 3), ("Rating - 3", 3), ("a score of 3", 3), ("I would give it a score of 3.", 3),
        ("\\(3\\)", 3),
        ("Vier Sterne", 4), ("quatre étoiles sur cinq", 4), ("٤ من ٥", 4), ("5 üzerinden 4", 4), ("Počet hvězdiček: 4", 4),
        ("The reviewer expected a score of 4.", None), ("I doubt the rating is 4.", None),
        ("It is not true that the rating is 4.", None),
        ("4\nActually, 3.", None), ("4 of 5", None), ("Rating -3", None), ("um", None), ("The rating is not 4", None),
        ("<|channel|>analysis<|message|>Maybe 2.<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>", 4),
        ("<|channel|>analysis<|message|>Maybe 2.", None), ("analysisMaybe 2, or 3.assistantfinal4", 4),
        ("◁think▷2◁/think▷4", 4),
        ("◁think▷2", None), ("<seed:think>2</seed:think>4", 4), ("<analysis>2</analysis>4", 4), ("<analysis>2", None),
        ("<|START_THINKING|>2<|END_THINKING|><|START_RESPONSE|>4<|END_RESPONSE|>", 4),
        ("Thinking...\n2\n...done thinking.\n\n4", 4),
        ("<|begin_of_thought|>2<|end_of_thought|>\n<|begin_of_solution|>4<|end_of_solution|>", 4), ("[THINK]2[/THINK]4", 4),
        ("hm, 2 perhaps\n</think>\n4", 4), ("<|im_start|>assistant\n4<|im_end|>\n<|im_start|>user\n2", 4),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n4<|eot_id|>", 4), ("4</s>", 4), ("<s>4", 4), ("4 [/INST] 2", 4),
    ],
)  # fmt: skip
def test_numbers_among_what_is_stripped_and_refused(text: str, right: int | None) -> None:
    label = number_parser("integer").parse(text).label
    assert (label + 1 if isinstance(label, int) else None) == right


LABELS = [
    ["yes", "no"],
    ["A", "B", "C"],
    MOODS,
    ["en", "is", "am", "not"],
    ["good", "bad", "answer", "other", "none"],
    ["4 stars", "5 stars"],
]
FRAMES = [
    "{r} {a}",
    "{a} {r}",
    "{a}\n{r}",
    "{r}\n{a}",
    "{a}. {r}",
    "{r}\n\nAnswer: {a}",
    "Answer: {a}\n{r}",
    "{a} - {r}",
    "{a}, {r}",
    "({r}) {a}",
]
REFUSALS = [
    *(phrases.refusal for phrases in PHRASES.values()), "There is no clear answer.", "I am not sure.",
    "As a language model I can't rate this.",
    "It is not for me to say.", "Is it good or bad?", "The review does not say A or B.", "Neither.", "I'm sorry, but no.",
]  # fmt: skip


@given(st.sampled_from(LABELS), st.data())
@settings(max_examples=150, deadline=None)
def test_a_refusal_around_an_answer_never_makes_another(labels: list[str], data: st.DataObject) -> None:
    reader = label_parser(labels)
    index = data.draw(st.integers(0, len(labels) - 1))
    refusal, frame = data.draw(st.sampled_from(REFUSALS)), data.draw(st.sampled_from(FRAMES))
    assert reader.parse(frame.format(r=refusal, a=labels[index])).label in (index, None)
    assert reader.parse(refusal).label is None


@given(st.integers(1, 5), st.sampled_from(REFUSALS), st.sampled_from(FRAMES))
@settings(max_examples=150, deadline=None)
def test_a_refusal_around_a_number_never_makes_another(number: int, refusal: str, frame: str) -> None:
    for type_ in ("integer", "json"):
        reader = number_parser(type_)
        answer = reader.answer(number - 1)
        assert reader.parse(frame.format(r=refusal, a=answer)).label in (number - 1, None)


MOST_REFUSED = {"integer": 45, "label": 40, "multilabel": 5}
"""Of the readable answers of each table: 215, 209 and 170."""


@pytest.mark.slow
@pytest.mark.parametrize("table", MOST_REFUSED)
def test_answers_that_were_written_without_a_look_at_the_parsers(table: str) -> None:
    lines = (Path(__file__).parent / "answers_by_others" / f"{table}.jsonl").read_text(encoding="utf-8").splitlines()
    wrong, refused, parsers = [], 0, dict[tuple[str, LabelSpace], Parser]()
    for row in map(json.loads, lines):
        spec = {"type": "json_list" if table == "multilabel" else table}
        spec |= {name: row[name] for name, of in (("first", "integer"), ("key", "multilabel")) if table == of and name in row}
        labels = LabelSpace(LabelKind(row["kind"]), tuple(row["labels"]))
        key = json.dumps(spec), labels
        if key not in parsers:
            parsers[key] = make_parser(ParserSpec.model_validate(spec), labels)
        parsed = parsers[key].parse(row["answer"])
        label = list(parsed.label) if isinstance(parsed.label, tuple) else parsed.label
        right = sorted(row["right"]) if isinstance(row["right"], list) else row["right"]
        refused += label is None and right is not None
        wrong += [(row["answer"], label, right)] if label not in (None, right) else []
    assert wrong == []
    assert refused <= MOST_REFUSED[table]
