"""Words of a path that may name its language: `en`, `ger`, `German`, `pt-BR`, `zh_Hans`, `eng_Latn`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

from harness.data.guess.language_words import CODES, ISO3, LANGUAGE_NAMES, REGIONS, SCRIPTS

_WORD = r"(?<![^-_./]){}(?![^-_./])"
_SUBTAGS = r"[A-Za-z]{2,3}(?P<script>[-_][A-Za-z]{4})?(?P<region>[-_](?:[A-Z]{2}|[a-z]{2}|419))?"  # 419: Latin America
_TAG = re.compile(_WORD.format(_SUBTAGS))
_PLAIN = re.compile(_WORD.format(r"[^-_./]+"))


def spellings_in(path: str) -> list[str]:
    """Each way to read a language out of `path` (without its suffix): the whole tag and the code that begins it.

    The region of a tag is none by itself: `FR` in `fr_FR`.
    """
    found: dict[str, None] = {}
    regions: set[int] = set()
    for word in _PLAIN.finditer(path):
        if base_of(word[0]) is None or word.start() in regions:
            continue
        tag = _TAG.match(path, word.start())
        if tag is not None and _is_tag(tag):
            found[tag[0]] = None
            regions.add(tag.start("region") + 1)
        found[word[0]] = None
    return list(found)


def with_lang(path: str, spelling: str) -> str:
    """The path with `{lang}` for each `spelling`."""
    return re.sub(_WORD.format(re.escape(spelling)), "{lang}", path)


def base_of(spelling: str) -> str | None:
    """The code of the language that is meant, whatever its script and region; None for what is none."""
    if spelling.lower() in LANGUAGE_NAMES:
        return LANGUAGE_NAMES[spelling.lower()]
    code = re.split("[-_]", spelling)[0]
    if not (code.islower() or code.isupper()):
        return None
    code = ISO3.get(code.lower(), code.lower())
    return code if code in CODES else None


def codes_of(spellings: Collection[str]) -> dict[str, str]:
    """Spelling -> code. Where several mean one language (`zh-CN`, `zh-TW`), they stay apart, each as it is spelled."""
    bases = {spelling: base_of(spelling) or spelling for spelling in sorted(spellings)}
    times = Counter(bases.values())
    return {spelling: base if times[base] == 1 else spelling for spelling, base in bases.items()}


def _is_tag(found: re.Match[str]) -> bool:
    script, region = ((found[part] or "")[1:] for part in ("script", "region"))
    known = (not script or script.lower() in SCRIPTS) and (not region.islower() or region in REGIONS)
    return known and bool(script or region)
