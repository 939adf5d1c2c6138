"""Names of languages in any language, from CLDR (https://cldr.unicode.org, as Babel has it): `suomi`, `espanja`, `tedesco`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

from harness.parsing.folding import fold, without_accents

_GENERIC = frozenset(
    """
    language lang sprache langue idioma lingua língua limba språk sprog taal kieli keel nyelv jazyk język jezik kalba valoda
    язык мова език јазик језик γλώσσα dil dili bahasa tiếng ngôn ngữ lugha ภาษา भाषा زبان اللغة لغة שפה
    """.split()  # noqa: SIM905 (a list of words is easier to read so)
)
"""Words for "language", which may stand beside the name of one: `język polski`, `bahasa Inggris`."""


def by_name(word: str) -> str | None:
    """The code of the language that `word` names in one of CLDR's languages; None where it names none, or two."""
    names = _names()
    for spelled in _spellings(word):
        if spelled in names:
            return names[spelled]
    return None


def is_code(code: str) -> bool:
    """Whether CLDR has a name for the language of this code, in small letters."""
    return code in _codes()


def current_code(code: str) -> str | None:
    """The code that CLDR prefers to an old or longer one (`iw`, `fin`); None where it knows no such alias."""
    from babel.core import get_global

    alias = get_global("language_aliases").get(code)
    return None if alias is None else re.split("[-_]", str(alias))[0]


def _spellings(word: str) -> list[str]:
    """Folded; without what stands in brackets, without a word for "language", and without accents."""
    whole = fold(word)
    bare = fold(re.sub(r"[(（\[][^)）\]]*[)）\]]", " ", word)) or whole
    parts = [part for part in bare.split() if part not in _GENERIC]
    short = " ".join(parts) or bare
    found = [whole, bare, short, re.sub(r"^ภาษา|语言$|語$|语$|文$|어$", "", short)]
    return list(dict.fromkeys([*found, *map(without_accents, found)]))


@cache
def _codes() -> frozenset[str]:
    from babel import Locale

    return frozenset(code for code in Locale("en").languages if "_" not in code and code not in ("und", "zxx"))


@cache
def _names() -> dict[str, str]:
    """Folded name -> code of two letters. Half a second: only what nothing else understands is looked up here.

    A name that some languages give to one language and some to another (Dari `پارسی`) belongs to the commonest, if that has two
    thirds of them.
    """
    from babel import Locale, localedata

    found: dict[str, Counter[str]] = defaultdict(Counter)
    for identifier in localedata.locale_identifiers():
        if "_" in identifier:
            continue
        for code, name in Locale(identifier).languages.items():
            base = code.split("_")[0]
            if len(base) > 2:  # keeps the table small; languages with a longer code are given by that
                continue
            key = fold(name)
            stripped = " ".join(part for part in key.split() if part not in _GENERIC) or key
            for spelled in {key, stripped, without_accents(key), without_accents(stripped)}:
                found[spelled][base] += 1
    sure = {}
    for name, codes in found.items():
        code, count = codes.most_common(1)[0]
        if count * 3 >= codes.total() * 2:
            sure[name] = code
    return sure
