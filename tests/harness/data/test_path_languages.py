"""Languages in paths: how data sets spell them, and what only looks like one."""

from __future__ import annotations

import pytest

from harness.data.guess.folders import base_of, codes_of, spellings_in, with_lang


@pytest.mark.parametrize(
    ("path", "spellings"),
    [
        ("zh-CN/train", ["zh-CN", "zh"]),
        ("train_zh_TW", ["zh_TW", "zh"]),
        ("pt-br/test", ["pt-br", "pt"]),
        ("eng_Latn/dev", ["eng_Latn", "eng"]),
        ("sr-Cyrl-RS", ["sr-Cyrl-RS", "sr"]),
        ("train.zh-hans", ["zh-hans", "zh"]),
        ("es-419", ["es-419", "es"]),
        ("fr_FR/fr_FR-train", ["fr_FR", "fr"]),  # FR is a region here
        ("FR/train", ["FR"]),
        ("en_tr", ["en", "tr"]),  # English train rows
        ("en-001", ["en"]),  # a part of a file
        ("en_Test/de_news", ["en", "de"]),  # neither is a script
        ("English/test", ["English"]),
        ("日本語", ["日本語"]),
        ("En/train", []),
        ("eng1/train", []),
        ("main/new-data_set", []),
    ],
)
def test_what_of_a_path_may_be_a_language(path: str, spellings: list[str]) -> None:
    assert spellings_in(path) == spellings


def test_each_of_its_places_becomes_lang() -> None:
    assert with_lang("en-GB/en-GB_sven-en", "en-GB") == "{lang}/{lang}_sven-en"
    assert with_lang("en/chosen.en", "en") == "{lang}/chosen.{lang}"


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        *[("deu", "de"), ("ger", "de"), ("jpn", "ja"), ("chi", "zh"), ("zho_Hant", "zh"), ("pt-BR", "pt"), ("hau", "ha")],
        *[("Japanese", "ja"), ("GERMAN", "de"), ("français", "fr"), ("Yoruba", "yo"), ("jp", "ja"), ("kab", "kab")],
        *[("pcm", "pcm"), ("ary", "ary"), ("new", None), ("man", None), ("big", None), ("to", None), ("all", None)],
    ],
)
def test_the_code_of_a_spelling(spelling: str, code: str | None) -> None:
    assert base_of(spelling) == code


def test_spellings_of_one_language_stay_apart() -> None:
    assert codes_of({"eng", "ja-JP"}) == {"eng": "en", "ja-JP": "ja"}
    assert codes_of({"zh-CN", "zh-TW", "ja-JP"}) == {"zh-CN": "zh-CN", "zh-TW": "zh-TW", "ja-JP": "ja"}
    assert codes_of({"pt", "pt_BR"}) == {"pt": "pt", "pt_BR": "pt_BR"}


@pytest.mark.slow
def test_every_code_but_the_newer_norwegian_is_one_that_the_detector_knows() -> None:
    from py3langid import rank

    from harness.data.guess.language import CODES, ISO3, LANGUAGE_NAMES

    assert CODES - {code for code, _ in rank("")} == {"nb"}
    assert {*ISO3.values(), *LANGUAGE_NAMES.values()} <= CODES
