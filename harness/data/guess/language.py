"""Which languages the texts are in: as a column says, or by py3langid (offline; its model comes with the package)."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from harness.core.errors import Unanswered, UserError
from harness.data.guess.doubts import Doubt
from harness.specs.prompts import LANGUAGES


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _pairs(words: str) -> dict[str, str]:
    return dict(word.split(":") for word in words.split())


MORE_LANGUAGES = _pairs(
    """
    ace:Acehnese af:Afrikaans am:Amharic an:Aragonese as:Assamese az:Azerbaijani ba:Bashkir be:Belarusian br:Breton
    bs:Bosnian crh:Crimean cy:Welsh dz:Dzongkha eo:Esperanto fo:Faroese fy:Frisian gd:Gaelic gl:Galician gu:Gujarati
    ha:Hausa ht:Haitian hy:Armenian ig:Igbo jv:Javanese ka:Georgian kab:Kabyle kk:Kazakh km:Khmer kn:Kannada ku:Kurdish
    ky:Kyrgyz la:Latin lb:Luxembourgish lg:Ganda lij:Ligurian ln:Lingala lo:Lao ltg:Latgalian mg:Malagasy mk:Macedonian
    ml:Malayalam mn:Mongolian mr:Marathi mt:Maltese my:Burmese ne:Nepali nso:Pedi oc:Occitan om:Oromo or:Odia pa:Punjabi
    ps:Pashto qu:Quechua rw:Kinyarwanda sa:Sanskrit se:Sami si:Sinhala sn:Shona so:Somali sq:Albanian st:Sotho te:Telugu
    tg:Tajik tk:Turkmen tl:Tagalog tt:Tatar ug:Uyghur uz:Uzbek vec:Venetian vo:Volapük wa:Walloon xh:Xhosa yo:Yoruba
    zu:Zulu
    """
)
"""Code -> English name, of languages that prompts don't know by name."""

LANGUAGE_NAMES = {name.lower(): code for code, name in (LANGUAGES | MORE_LANGUAGES).items()} | _pairs(
    """
    deutsch:de français:fr francais:fr español:es espanol:es italiano:it português:pt portugues:pt nederlands:nl polski:pl
    русский:ru 日本語:ja 中文:zh 한국어:ko jp:ja kr:ko cn:zh farsi:fa mandarin:zh filipino:tl oriya:or myanmar:my kirghiz:ky
    nb:no
    """
)

ISO3 = _pairs(
    """
    afr:af als:sq alb:sq amh:am ara:ar arb:ar arg:an arm:hy asm:as aze:az azj:az bak:ba baq:eu bel:be ben:bn bos:bs bre:br
    bul:bg bur:my cat:ca ces:cs chi:zh cmn:zh cym:cy cze:cs dan:da deu:de dut:nl dzo:dz ell:el eng:en epo:eo est:et eus:eu
    fao:fo fas:fa fil:tl fin:fi fra:fr fre:fr fry:fy gaz:om geo:ka ger:de gla:gd gle:ga glg:gl gre:el guj:gu hat:ht hau:ha
    heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ice:is ind:id isl:is ita:it jav:jv jpn:ja kan:kn kat:ka kaz:kk khk:mn khm:km
    kin:rw kir:ky kmr:ku kor:ko kur:ku lao:lo lat:la lav:lv lin:ln lit:lt ltz:lb lug:lg lvs:lv mac:mk mal:ml mar:mr may:ms
    mkd:mk mlg:mg mlt:mt mon:mn msa:ms mya:my nep:ne nld:nl nno:no nob:no nor:no npi:ne oci:oc ori:or orm:om ory:or pan:pa
    pbt:ps per:fa pes:fa plt:mg pol:pl por:pt pus:ps que:qu quy:qu ron:ro rum:ro rus:ru san:sa sin:si slk:sk slo:sk slv:sl
    sme:se sna:sn som:so sot:st spa:es sqi:sq srp:sr swa:sw swe:sv swh:sw tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tuk:tk
    tur:tr uig:ug ukr:uk urd:ur uzb:uz uzn:uz vie:vi vol:vo wel:cy wln:wa xho:xh yor:yo zho:zh zsm:ms zul:zu
    """
)
"""ISO 639-2 and 639-3 -> 639-1."""

SAME_LANGUAGE = _pairs("wuu:zh yue:zh arz:ar ary:ar nn:no nb:no pcm:en")
"""Varieties that a detector tells apart and prompts don't."""

CODES = LANGUAGES.keys() | MORE_LANGUAGES.keys() | SAME_LANGUAGE.keys()

REGIONS = _set(
    """
    ae ar at au bd be bg br ca ch cl cn co cz de dk eg es fi fr gb gr hk hu id ie il in ir it jp kr lu mx my nl no nz ph pk pl
    pt ro ru sa se sg sk th tw ua uk us vn za
    """
)
"""Countries in small letters, as in `pt_br`. Turkey is not among them: `en_tr` is English to train on."""

SCRIPTS = _set(
    """
    arab armn beng cyrl deva ethi geor grek gujr guru hang hans hant hebr jpan khmr knda kore laoo latn mlym mong mymr orya
    sinh taml telu thai tibt
    """
)
"""ISO 15924, in small letters."""


SAMPLE = 400
"""Texts whose language is looked at, of a column; of each language where a column names them, a part of these."""

CONSTANT = 0.8
"""A file is in one language where so large a share of its texts is taken for that; short texts are often mistaken."""

SEVERAL = "mul"
"""ISO 639-2 for several languages, where nothing tells which row is in which."""

LETTERS = 3  # fewer tell nothing of a language
PLAUSIBLE = 0.1  # a share below this: it is another language

MARGIN = 10.0
"""A text is in another language than the one said if that one's log likelihood is so much lower than the best one's.

Measured with py3langid 0.4 on texts cut to 1, 2, 4 and 8 words and on whole ones, in 22 languages: at most 0.9% of the texts of
one language pass this margin (2% of Hindi ones of two words), also among neighbours such as Indonesian and Malay, while up to
76% of one-word texts have another language in first place.
"""

STRANGE, STRANGE_TEXTS = 0.03, 3
"""The share of such texts, and their number, from which on they are said: beyond what the detector mistakes."""

NEIGHBOURS = tuple(
    _set(group)
    for group in (
        "id ms jv", "no da sv fo", "es pt gl ca an oc ast ext", "fr oc wa", "hr sr bs", "cs sk", "hi mr ne sa gom", "bg mk",
        "ru be uk", "nl af fy", "de lb", "it vec lij", "tr az crh", "qu ay",
    )
)  # fmt: skip
"""Languages that a detector mistakes for one another in many texts of a kind, so that a small preference says nothing."""

UNKNOWN = 0.1
"""A larger share of rows whose cell names no known language is asked about; fewer are left out."""


@dataclass(frozen=True, slots=True)
class Languages:
    """`codes`: the commonest first, with their rows. `column` and `mapping` (cell -> code, where they differ) or detected:
    `share` of the texts look like it, or they are mixed, as `mix` says."""

    rows: dict[str, int]
    column: str | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    mix: str = ""
    notes: list[str | Doubt] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        return list(self.rows)


def code_of(cell: str, strict: bool = False) -> str | None:
    """The code that `en`, `EN`, `en_US`, `eng_Latn` or `English` mean; None for what means no language.

    `strict`: the column's name does not speak of languages, so a code must be one of the usual ones and in small letters.
    """
    text = cell.strip()
    if strict:
        return text if text in LANGUAGES else None
    word = text.lower()
    if word in LANGUAGE_NAMES:
        return LANGUAGE_NAMES[word]
    match = re.fullmatch(r"([a-z]{2,3})([-_][a-z0-9]{2,8})*([.@][a-z0-9-]+)?", word)
    return None if match is None else SAME_LANGUAGE.get(match[1], ISO3.get(match[1], match[1]))


def known_code(cell: str) -> str | None:
    """As `code_of`, but only codes that there are; and also names of languages in other languages (`suomi`, `tedesco`)."""
    from harness.data.guess import language_names

    code = code_of(cell)
    if code is not None and code in CODES:
        return code
    if not any(letter.isalpha() for letter in cell):
        return None
    found = language_names.by_name(cell)
    if found is None and code is not None:
        found = language_names.current_code(code) or (code if language_names.is_code(code) else None)
    return None if found is None else SAME_LANGUAGE.get(found, ISO3.get(found, found))


def languages_of(
    column: str | None, cells: Sequence[str], texts: Sequence[str], least: int, said: Mapping[str, str] | None = None
) -> Languages:
    """As a column says, or the paths (None: the cells are codes). Left out are languages with fewer than `least` rows, and rows
    without one.

    `said`: cell -> code, where the user says so. Raises `Unanswered` where many rows have a cell that names no known language.
    """
    counts = Counter(cells)
    said = said or {}
    codes = {cell: said.get(cell.strip()) or known_code(cell) if column is not None else cell for cell in counts}
    mapping = {cell: code for cell, code in codes.items() if code is not None}
    unknown = [cell for cell, code in codes.items() if code is None]
    notes: list[str | Doubt] = []
    if column is not None:
        notes += _read_as(column, {cell: code for cell, code in mapping.items() if cell.strip() not in said})
        _check_unknown(column, [cell for cell in unknown if cell.strip()], counts, cells, texts, said)
    rows: Counter[str] = Counter()
    for cell, code in mapping.items():
        rows[code] += counts[cell]
    few = {code: count for code, count in rows.items() if count < least}
    if few and len(few) < len(rows):
        shown = ", ".join(f"{code} ({count})" for code, count in sorted(few.items())[:8])
        text = f"Left out, as there are too few rows to train and test on: {shown}."
        notes.append(Doubt("language-left-out", text))
    else:
        few = {}
    if unknown:
        names = ", ".join(repr(cell.strip()) for cell in unknown[:4] if cell.strip())
        text = f"{sum(counts[cell] for cell in unknown):,} rows name no language in {column!r} and are left out."
        text += f" If {names} {'are languages' if ',' in names else 'is one'}: --lang-map CELL=CODE." if names else ""
        notes.append(Doubt("language-left-out", text))
    kept = {code: count for code, count in rows.most_common() if code not in few}
    differing = {cell: code for cell, code in mapping.items() if cell != code and code in kept}
    return Languages(kept, column, differing, notes=notes)


def _read_as(column: str, mapping: Mapping[str, str]) -> list[Doubt]:
    """On cells that name a language in another language than English."""
    named = {cell.strip(): code for cell, code in mapping.items() if code_of(cell) != code}
    if not named:
        return []
    shown = ", ".join(f"{cell} = {code}" for cell, code in list(named.items())[:8]) + (", ..." if len(named) > 8 else "")
    text = f"{column!r} names languages in words, which are read so: {shown}. If one is wrong: --lang-map CELL=CODE."
    return [Doubt("language-names", text)]


def _check_unknown(
    column: str,
    unknown: Sequence[str],
    counts: Mapping[str, int],
    cells: Sequence[str],
    texts: Sequence[str],
    said: Mapping[str, str],
) -> None:
    """Raises `Unanswered`, with what the texts look like, where too many rows have such cells."""
    if sum(counts[cell] for cell in unknown) <= UNKNOWN * len(cells):
        return
    guesses = dict(said)
    for cell in unknown:
        looks = looks_of([text for text, there in zip(texts, cells, strict=True) if there == cell])
        guesses[cell.strip()] = looks.best if looks is not None and looks.like(looks.best) >= CONSTANT else SEVERAL
    shown = ", ".join(repr(cell.strip()) for cell in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
    asked = ",".join(f"{cell}={code}" for cell, code in guesses.items())
    every = looks_of(texts)
    one = every.best if every is not None and len(unknown) > 1 and every.like(every.best) > 1 - STRANGE else None
    raise Unanswered(
        f"The column {column!r} seems to tell the language of each row, and {shown} there "
        f"{'are no languages' if len(unknown) > 1 else 'is no language'} that bench knows.",
        "Give the code of each: --lang-map CELL=CODE, separated by commas; or, if the column tells something else and all rows"
        " are in one language: --lang en.",
        {"--lang": one} if one else {"--lang": column, "--lang-map": asked},
    )


def detected(texts: Sequence[str]) -> Languages:
    """By the texts themselves: one language, or `mul` where they are too mixed. No rows where nothing can be told."""
    looks = looks_of(texts)
    if looks is None:
        return Languages({})
    best = looks.best
    share = looks.like(best)
    if share >= CONSTANT:
        return Languages({best: len(texts)}, share=share, notes=[*looks.doubts(best, "The language is taken for {code}, but")])
    mix = ", ".join(f"{code} {number / looks.total:.0%}" for code, number in looks.first.most_common(4))
    text = (
        f"The texts seem to be in several languages ({mix}), and no column tells which row is in which: they are taken together"
        f" as {SEVERAL!r}. With such a column there are results for each language: --lang COLUMN; if it is one: --lang {best}."
    )
    return Languages({SEVERAL: len(texts)}, mix=mix, notes=[Doubt("language-mix", text)])


def doubts(said: Languages, cells: Sequence[str], texts: Sequence[str]) -> list[Doubt]:
    """Where the texts of a language look like another one. Raises `UserError` where the paths tell the languages, and none of
    the texts look like theirs: `it/` and `hr/` are departments too."""
    looks = {code: found for code, found in _by_language(said, cells, texts).items() if found.knows(code)}
    if said.column is None and looks and not any(_plausible(code, found) for code, found in looks.items()):
        other = sum((found.first for found in looks.values()), Counter[str]()).most_common(1)[0][0]
        raise UserError(
            f"The paths seem to name languages ({', '.join(looks)}), but the texts look like {other}.",
            "Give one of the files; or put all rows into one, with a column for what the paths tell.",
        )
    where = "their path" if said.column is None else repr(said.column)
    return [doubt for code, found in looks.items() for doubt in found.doubts(code, f"Where {where} says {{code}},")]


def _by_language(said: Languages, cells: Sequence[str], texts: Sequence[str]) -> dict[str, Looks]:
    """Language -> what some of its texts look like."""
    by_code: dict[str, list[str]] = defaultdict(list)
    for cell, text in zip(cells, texts, strict=True):
        code = said.mapping.get(cell, cell)
        if code in said.rows:
            by_code[code].append(text)
    found = {code: looks_of(rows, SAMPLE // 4) for code, rows in by_code.items()}
    return {code: looks for code, looks in found.items() if looks is not None}


def _plausible(code: str, found: Looks) -> bool:
    """Whether some texts look like the language; a detector mistakes it for its neighbours, but not all of the time."""
    return found.first[str(code_of(code))] >= PLAUSIBLE * found.total


def doubts_of_code(code: str, texts: Sequence[str], columns: Sequence[str]) -> list[Doubt]:
    """What speaks against `--lang CODE`: bench does not know the code, or texts look like another language."""
    if code == SEVERAL:
        return []
    looks = looks_of(texts)
    found = [] if looks is None else looks.doubts(code, "--lang says {code}, and")
    if code not in LANGUAGES:
        seen = f" The texts look like {looks.best}." if looks is not None and looks.best != code else ""
        text = f"--lang {code}: bench has no name for such a language.{seen} The columns: {', '.join(columns)}."
        return [Doubt("language-unknown", text), *found]
    return found


@dataclass(frozen=True, slots=True)
class Looks:
    """What a sample of texts looks like. `scores`: (texts, codes) log likelihoods, those of the best language of each text at
    0. `first`: how many texts have a code in first place."""

    scores: np.ndarray
    codes: list[str]
    first: Counter[str]

    @property
    def total(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> str:
        """The language that fits all texts together best: a short text alone is often mistaken. No text counts for more than
        twice the margin, so that a long one does not decide for all."""
        return self.codes[int(np.maximum(self.scores, -2 * MARGIN).sum(axis=0).argmax())]

    def knows(self, code: str) -> bool:
        return code_of(code) in self.codes

    def like(self, code: str) -> float:
        """The share of the texts that may be in the language."""
        return float((self._of(code) >= -MARGIN).mean())

    def others(self, code: str) -> Counter[str]:
        """What the texts look like that are in another language."""
        strange = self.scores[self._of(code) < -MARGIN]
        return Counter(self.codes[place] for place in strange.argmax(axis=1))

    def doubts(self, code: str, start: str) -> list[Doubt]:
        """`start`: with `{code}`, of a sentence that goes on with the share of texts in another language."""
        if not self.knows(code):
            return []
        others = self.others(code)
        count = others.total()
        base = str(code_of(code))
        apart = self.best != base and not any({base, self.best} <= group for group in NEIGHBOURS)
        mistaken = apart and self.first[base] * 2 < self.total
        if not mistaken and (count < STRANGE_TEXTS or count < STRANGE * self.total):
            return []
        if mistaken and count * 2 < self.total:
            looks = f"the texts, though short, look like {self.best}"
        else:
            mix = ", ".join(f"{other} {number / self.total:.0%}" for other, number in others.most_common(3))
            looks = f"{count / self.total:.0%} of the texts look like another language ({mix})"
        text = (
            f"{start.format(code=code)} {looks}. If the rows are of several languages, a column that tells them gives results"
            " for each: --lang COLUMN; if all are of one: --lang CODE."
        )
        return [Doubt("language-texts", text)]

    def _of(self, code: str) -> np.ndarray:
        return np.asarray(self.scores[:, self.codes.index(str(code_of(code)))])


def looks_of(texts: Sequence[str], most: int = SAMPLE) -> Looks | None:
    """Of a seeded sample, without the texts that have too few letters to tell; None where there are no others."""
    drawn = texts if len(texts) <= most else random.Random(0).sample(texts, most)  # every tenth row may be in one language
    rows = [text for text in drawn if sum(letter.isalpha() for letter in text) >= LETTERS]
    if not rows:
        return None
    from py3langid import rank

    codes = _detected_codes()
    place = {code: index for index, code in enumerate(codes)}
    scores = np.full((len(rows), len(codes)), -np.inf)
    for row, text in enumerate(rows):
        for code, score in rank(text):
            index = place.get(SAME_LANGUAGE.get(code, code))
            if index is not None:
                scores[row, index] = max(scores[row, index], score)
    scores -= scores.max(axis=1, keepdims=True)
    return Looks(scores, codes, Counter(codes[index] for index in scores.argmax(axis=1)))


@cache
def _detected_codes() -> list[str]:
    """The languages that the detector tells apart, varieties joined; without its classes for no language at all."""
    from py3langid import rank

    return sorted({SAME_LANGUAGE.get(code, code) for code, _ in rank("") if code not in ("zxx", "und")})
