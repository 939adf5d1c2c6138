"""Twins: exact ones whatever the case, width and white space; near ones as comparing every pair finds them."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.progress_events import progress_listener
from harness.data import duplicates, joins, minhash, one_place
from harness.data.duplicates import (
    OF,
    SHINGLE,
    SIMILAR,
    Duplicate,
    Prepared,
    counted,
    find_duplicates,
    normalized,
    twins_among,
    unpunctuated,
)
from harness.data.joins import Places
from harness.data.one_place import Search, differ_in_one_place, one_place_similarity

SCRIPTS = {
    "latin": "abcdefghijklmnopqrstuvwxyz    éüñß",
    "japanese": "かなカナ漢字商品最高良悪色形使、。箱届壊早遅い",
    "chinese": "这部电影很好看不演员导演故事无聊真的",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي   ",
    "emoji": "😀😃😄👍👎❤ ab",
}
ONE_LETTER = "ab"  # few trigrams, and so many pairs that are similar


def shingles(text: str) -> set[str]:
    text = unpunctuated(text).ljust(SHINGLE, "\0")
    return {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)}


def jaccard(left: str, right: str) -> float:
    a, b = shingles(left), shingles(right)
    return len(a & b) / len(a | b)


def is_near(left: str, right: str) -> bool:
    a, b = shingles(left), shingles(right)
    if normalized(left) == normalized(right):
        return False
    return OF * len(a & b) >= SIMILAR * len(a | b) or outside(unpunctuated(left), unpunctuated(right)) is not None


def outside(left: str, right: str) -> float | None:
    """The share of the longer text outside the one place where they differ, by counting; None if they are not near."""
    longer, begin, end = max(len(left), len(right)), 0, 0
    shorter = min(len(left), len(right))
    while begin < shorter and left[begin] == right[begin]:
        begin += 1
    while end < shorter - begin and left[-1 - end] == right[-1 - end]:
        end += 1
    kept = left[:begin] + left[len(left) - end :]
    columns = sum(3 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in kept)
    return len(kept) / longer if 4 * len(kept) >= 3 * longer and columns >= 20 else None


def similarity_of(left: str, right: str) -> set[float]:
    left, right = unpunctuated(left), unpunctuated(right)
    return {jaccard(left, right), outside(left, right) or 0.0, float(left == right)}


def expected(texts: list[str], others: list[str] | None = None) -> dict[int, bool]:
    """Row -> whether its twin is exact, by comparing every pair."""
    pool = texts if others is None else others
    found = {}
    for row, text in enumerate(texts):
        rest = [other for place, other in enumerate(pool) if others is not None or place != row]
        if any(normalized(text) == normalized(other) for other in rest):
            found[row] = True
        elif any(is_near(text, other) for other in rest):
            found[row] = False
    return found


def check(texts: list[str], others: list[str] | None = None) -> list[Duplicate]:
    found = find_duplicates(texts, others)
    assert {twin.row: twin.exact for twin in found} == expected(texts, others)
    assert [twin.row for twin in found] == sorted({twin.row for twin in found})
    pool = texts if others is None else others
    for twin in found:
        assert others is not None or twin.other != twin.row
        assert (normalized(texts[twin.row]) == normalized(pool[twin.other])) == twin.exact
        assert twin.exact or twin.similarity in similarity_of(texts[twin.row], pool[twin.other])
    return found


def some_texts(letters: str, count: int, longest: int, seed: int) -> list[str]:
    """Random ones, and as many that differ from one of them in a few characters: on both sides of the threshold."""
    chance = random.Random(seed)
    texts = ["".join(chance.choices(letters, k=chance.randint(1, longest))) for _ in range(count // 2)]
    for text in chance.choices(texts, k=count - len(texts)):
        changed = list(text)
        for _ in range(chance.randint(0, 1 + len(text) // 25)):
            place = chance.randrange(len(changed))
            changed[place : place + chance.randint(0, 2)] = chance.choices(letters, k=chance.randint(0, 2)) or ["x"]
        texts.append("".join(changed) or "x")
    return texts


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Great product", "great  PRODUCT\n"),
        ("ＡＢＣ１２３", "abc123"),
        ("ｶﾞﾗｽ", "ガラス"),
        ("café", "cafe\u0301"),
        ("Straße", "STRASSE"),
        ("very\u00a0good", "very good"),
        ("全角\u3000スペース", "全角 スペース"),
        ("ﬁne", "FINE"),
        ("ΣΟΦΟΣ", "σοφος"),
        ("℡ 123", "tel 123"),
    ],
)
def test_what_a_reader_would_call_the_same_text(left: str, right: str) -> None:
    assert normalized(left) == normalized(right)
    assert find_duplicates([left], [right]) == [Duplicate(0, 0, True, 1.0)]


@pytest.mark.parametrize(
    "sign", ["\u200b", "\ufeff", "\u00ad", "\ufe0f", "\u200d", "\u200e", "\u202e", "\u2066", "\u034f", "\u3164"]
)
def test_what_nobody_sees_makes_no_other_text(sign: str) -> None:
    assert find_duplicates([f"gut{sign}e {sign}Ware"], ["gute Ware"]) == [Duplicate(0, 0, True, 1.0)]
    assert normalized(sign) == ""


def test_every_invisible_character_of_the_standard() -> None:
    regex = pytest.importorskip("regex")
    for point in range(0x110000):
        if regex.fullmatch(r"\p{Default_Ignorable_Code_Point}", chr(point)):
            assert duplicates._INVISIBLE.fullmatch(chr(point)), hex(point)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Good, and cheap!", "good and cheap"),
        ("don't", "don\u2019t"),
        ("好看，但是太长了。", "好看但是太长了"),
        ("良い商品です！「また買います」", "良い商品です また買います"),
        ("जल्दी आया।", "जल्दी आया"),
        ("سريع، جيد؟", "سريع جيد"),
    ],
)
def test_texts_that_differ_in_punctuation_are_near(left: str, right: str) -> None:
    assert unpunctuated(left) == unpunctuated(right)
    assert find_duplicates([left], [right]) == [Duplicate(0, 0, False, 1.0)]
    assert find_duplicates([left, right]) == [Duplicate(0, 1, False, 1.0), Duplicate(1, 0, False, 1.0)]


def test_of_punctuation_alone_every_sign_counts() -> None:
    assert unpunctuated(":)") == ":)"
    assert find_duplicates([":)", "!!!", "..."], [":(", "!", "?"]) == []
    assert find_duplicates(["..."], ["…"]) == [Duplicate(0, 0, True, 1.0)]


ONE_WORD = {
    "English": ("the battery died after two weeks", "the battery failed after two weeks"),
    "Russian": ("батарея умерла через две недели", "батарея сдохла через две недели"),
    "Arabic": ("وصل المنتج مكسورا بعد اسبوعين", "وصل الهاتف مكسورا بعد اسبوعين"),
    "Hindi": ("सामान दो हफ्ते बाद टूटा हुआ मिला", "सामान तीन हफ्ते बाद टूटा हुआ मिला"),
    "Thai": ("สินค้ามาถึงช้ามากและกล่องก็เสียหาย", "พัสดุมาถึงช้ามากและกล่องก็เสียหาย"),
    "Chinese": ("这部电影的故事很无聊", "这部电影的音乐很无聊"),
    "Japanese": ("箱が壊れて届きました", "皿が壊れて届きました"),
    "Korean": ("배송이 너무 늦게 왔어요", "택배가 너무 늦게 왔어요"),
    "emoji": ("😀😀👍 so happy today 😃", "😀😀👍 so hungry today 😃"),
}


@pytest.mark.parametrize(("left", "right"), ONE_WORD.values(), ids=ONE_WORD)
def test_one_changed_word_in_every_script(left: str, right: str) -> None:
    """Also without punctuation and with an invisible character. By trigrams none of these is near."""
    assert OF * len(shingles(left) & shingles(right)) < SIMILAR * len(shingles(left) | shingles(right))
    for other in (right, f"{right[:3]}\u200b{right[3:]}", f"{right}?!", f"\u300c{right}\u300d"):
        (found,) = find_duplicates([f"{left}."], [other])
        assert (found.exact, found.similarity) == (False, outside(unpunctuated(left), unpunctuated(right)))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("love this app", "like this app"),  # too little is the same
        ("第一次看", "第二次看"),
        ("a fine product that came quickly", "no fine product that came slowly"),  # in two places
        ("it came quickly and works very well", "it came quickly"),
    ],
)
def test_little_in_common_or_two_places_are_not_near(left: str, right: str) -> None:
    assert one_place_similarity(left, right) == 0
    assert find_duplicates([left], [right]) == []


def test_a_template_with_thousands_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "MOST_TRIED", 3)
    texts = [f"the parcel number {n} was delivered" for n in range(50)]
    search = Search(texts, np.arange(50), np.zeros(50, dtype=bool))
    assert set(differ_in_one_place(texts, [search], lambda done, total: None)[0]) == set(range(50))


def compared(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> Counter[str]:
    """Counts how often each text is compared by a function of two texts that finds none similar."""
    counts: Counter[str] = Counter()

    def different(left: str, right: str) -> float:
        counts[left] += 1
        return 0.0

    monkeypatch.setattr(module, name, different)
    return counts


def test_texts_of_a_template_that_are_not_near_are_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share most of their keys: the bound holds for all keys together."""
    monkeypatch.setattr(one_place, "MOST_TRIED", 5)
    counts = compared(monkeypatch, one_place, "one_place_similarity")
    texts = [f"the parcel number {n} was delivered" for n in range(50)]
    differ_in_one_place(texts, [Search(texts, np.arange(50), np.zeros(50, dtype=bool))], lambda done, total: None)
    assert set(counts) == set(texts)
    assert max(counts.values()) == 5

    monkeypatch.setattr(duplicates, "EXACT_PAIRS", 0)
    monkeypatch.setattr(duplicates, "MOST_TRIED", 5)
    counts = compared(monkeypatch, duplicates, "_trigram_similarity")
    find_duplicates(texts)
    assert max(counts.values()) == 5


@pytest.mark.parametrize(("left", "right"), [("good", "goood"), ("5 stars", "4 stars"), ("はは", "ばば"), ("良い", "良くない")])
def test_what_is_another_text(left: str, right: str) -> None:
    assert normalized(left) != normalized(right)


@pytest.mark.slow
@given(st.text())
@settings(deadline=None)
def test_normalized_stays_so_and_knows_neither_case_nor_composition(text: str) -> None:
    once = normalized(text)
    assert normalized(once) == once
    assert once == once.strip()
    assert normalized(unicodedata.normalize("NFD", text)) == normalized(unicodedata.normalize("NFC", text)) == once
    assert normalized(text.casefold()) == once
    assert normalized(f" {text}\n") == once


@pytest.mark.slow
@pytest.mark.parametrize("letters", [*SCRIPTS.values(), ONE_LETTER], ids=[*SCRIPTS, "two letters"])
@pytest.mark.parametrize("longest", [6, 40, 300])
def test_all_near_twins_and_no_others(letters: str, longest: int) -> None:
    texts = some_texts(letters, 120, longest, seed=longest)
    found = check(texts[::2], texts[1::2])
    assert found
    check(texts)


@pytest.mark.slow
@given(st.lists(st.text("ab c", max_size=30), max_size=12), st.none() | st.lists(st.text("ab c", max_size=30), max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_texts(texts: list[str], others: list[str] | None) -> None:
    check(texts, others)


@pytest.mark.slow
@given(st.lists(st.text(max_size=12), max_size=6), st.lists(st.text(max_size=12), max_size=6))
@settings(deadline=None, max_examples=60)
def test_any_characters(texts: list[str], others: list[str]) -> None:
    check(texts, others)


def test_long_texts_need_only_their_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With other numbers of shared trigrams the same is found: that of the prefix is a matter of speed alone."""
    texts = some_texts(SCRIPTS["latin"], 80, 400, seed=7)
    usual = find_duplicates(texts)
    for enough in (1, 3, 1000):
        monkeypatch.setattr(duplicates, "ENOUGH", enough)
        assert find_duplicates(texts) == usual


@pytest.mark.slow
def test_in_parts_the_same_rows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = some_texts(SCRIPTS["japanese"], 150, 60, seed=3)
    usual = expected(texts)
    monkeypatch.setattr(duplicates, "CELLS", 200)
    assert {twin.row: twin.exact for twin in find_duplicates(texts)} == usual


def test_many_letters_make_the_chunks_small() -> None:
    """With 40,000 different characters a trigram has 46 bits; the numbers must not overflow."""
    letters = [chr(0x4E00 + point) for point in range(20_000)] + [chr(0xAC00 + point) for point in range(11_000)]
    letters += [chr(0x20000 + point) for point in range(9_000)]
    random.Random(1).shuffle(letters)
    texts = ["".join(letters[start : start + 50]) for start in range(0, len(letters), 50)]
    changed = [text[:-1] + "x" for text in texts]
    assert counted(find_duplicates(texts, changed)) == {"exact": 0, "near": len(texts)}


def test_the_first_exact_twin_is_named_and_among_themselves_another_row() -> None:
    assert find_duplicates(["b", "a"], ["x", "A", "a"]) == [Duplicate(1, 1, True, 1.0)]
    assert find_duplicates(["a", "b", "A", "a"]) == [
        Duplicate(0, 2, True, 1.0),
        Duplicate(2, 0, True, 1.0),
        Duplicate(3, 0, True, 1.0),
    ]


def test_near_counts_trigrams_not_how_often_they_stand_there() -> None:
    (found,) = find_duplicates(["ha ha ha"], ["ha ha ha ha ha ha"])
    assert not found.exact
    assert found.similarity == 1.0


@pytest.mark.parametrize(("texts", "others"), [([], []), ([], ["a"]), (["a"], []), (["a"], None), ([], None)])
def test_nothing_to_compare(texts: list[str], others: list[str] | None) -> None:
    assert find_duplicates(texts, others) == []


def test_halves_of_surrogate_pairs() -> None:
    assert counted(find_duplicates(["a\ud800 bad text from json", "fine"], ["a\ud800 bad text from json!"])) == {
        "exact": 0,
        "near": 1,
    }


def test_four_in_five_are_near() -> None:
    """Four trigrams of five, whichever of the two is asked for; three of four are not enough."""
    assert [twin.similarity for twin in find_duplicates(["abcdef"], ["abcdefg"])] == [0.8]
    assert [twin.similarity for twin in find_duplicates(["abcdefg"], ["abcdef"])] == [0.8]
    assert find_duplicates(["abcde"], ["abcdef"]) == find_duplicates(["abcdef"], ["abcde"]) == []


def test_copies_of_one_text_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand copies of a comment cost no more than one."""
    asked: list[tuple[int, int]] = []
    similar = duplicates._similar

    def listener(texts: Prepared, pools: list[Prepared], wanted: list[Places]) -> list[dict[int, tuple[int, float]]]:
        asked.extend((len(some), len(pool.distinct)) for pool, some in zip(pools, wanted, strict=True))
        return similar(texts, pools, wanted)

    monkeypatch.setattr(duplicates, "_similar", listener)
    found = find_duplicates(["the very same text again"] * 500, ["the very same texts again."] * 500)
    assert counted(found) == {"exact": 0, "near": 500}
    assert asked == [(1, 1)]


def test_the_search_for_near_twins_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "CELLS", 20)
    heard: list[tuple[str, int, int, str]] = []
    with progress_listener(lambda *words: heard.append(words)):
        find_duplicates([f"row {n} is unlike" for n in range(10)], [f"{n} other text" for n in range(8)])
    assert {(phase, total) for phase, _, total, _ in heard} == {("find duplicates", 10)}
    told = [done for _, done, _, _ in heard]
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-4:] == [5, 6, 7, 8]  # the second of two parts, in quarters


def changed(text: str, chance: random.Random) -> str:
    """With a character changed in each of two places, far from each other."""
    letters = list(text)
    for place in (len(text) // 4, 3 * len(text) // 4):
        letters[place] = chance.choice([letter for letter in "abcdefgh" if letter != text[place]])
    return "".join(letters)


@pytest.mark.slow
def test_of_many_rows_nearly_all_near_ones_are_found_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle counts the trigrams of each text and its copy: of these pairs the binding ones are just above 0.8."""
    chance = random.Random(4)
    texts = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=chance.randint(40, 90))) for _ in range(1500)]
    copies = [changed(text, chance) for text in texts]
    monkeypatch.setattr(duplicates, "EXACT_PAIRS", 0)
    found = {twin.row: twin for twin in find_duplicates(texts, copies)}
    near = {row for row, (text, copy) in enumerate(zip(texts, copies, strict=True)) if is_near(text, copy)}
    assert 300 < len(near) < 1500
    assert near >= found.keys()
    assert len(found) > 0.95 * len(near)
    assert all(twin.other == row and twin.similarity in similarity_of(texts[row], copies[row]) for row, twin in found.items())


def test_of_many_rows_among_themselves_a_row_is_not_its_own_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "EXACT_PAIRS", 0)
    texts = [f"{n} {'abcdefghijklmnopqrstuvwxyz'[n % 7 :]} {n * n} {chr(97 + n % 26) * 9} end of it" for n in range(60)]
    pair = ["the first word changed and the last one too in this", "the other word changed and the last one also in this"]
    found = find_duplicates(
        [*texts, "0 same text of several words here, please", "0 same text of several words here please!", *pair]
    )
    assert all(twin.row != twin.other for twin in found)
    assert {(twin.row, twin.other) for twin in found} >= {(60, 61), (61, 60)}
    assert find_duplicates([*texts, "0 same text of several words"]) == find_duplicates(
        [*texts, "0 same text of several words"]
    )


@pytest.mark.parametrize("similarity", [0.8, 0.9])
def test_minima_are_equal_as_often_as_texts_are_similar(similarity: float) -> None:
    """Broder 1997: the share of equal minima is an unbiased estimate of the Jaccard similarity."""
    chance = random.Random(2)
    shares = []
    for _ in range(200):
        letters = [chr(0x4E00 + point) for point in chance.sample(range(5000), 120)]
        kept = round(100 * similarity)
        left, right = "".join(letters[:102]), "".join(letters[:102][: kept + 2])
        found = minhash.signatures([left, right], SHINGLE).minima
        shares.append(np.mean(found[0] == found[1]))
    assert np.mean(shares) == pytest.approx(similarity, abs=0.02)


@pytest.mark.slow
def test_several_searches_at_once_find_what_each_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = some_texts(SCRIPTS["latin"], 200, 60, seed=5)
    parts = {"some": [*texts[:60], "another text"], "none": [], "itself": None, "others": texts[150:][::-1]}
    for pairs in (duplicates.EXACT_PAIRS, 0):
        monkeypatch.setattr(duplicates, "EXACT_PAIRS", pairs)
        found = twins_among(texts, parts)
        for name, others in parts.items():
            alone = find_duplicates(texts, others)
            assert (found[name].exact, found[name].near) == (counted(alone)["exact"], counted(alone)["near"])
            assert found[name].rows == [twin.row for twin in alone]
