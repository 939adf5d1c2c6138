"""Which languages the texts are in: as a column says, or by py3langid (offline; its model comes with the package)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.core.errors import UserError
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

LETTERS_FOR_SURE = 40
"""Letters of a text whose language is detected almost without error; a third of that in scripts of whole words or syllables."""
MIXED = 0.05
"""A share of such texts in another language that is said."""
LEAST_FOR_SURE = 20

_NEIGHBOURS = tuple(
    map(
        _set,
        (
            "no nb nn da sv",
            "es pt gl ca ast oc an",
            "hr sr bs sl mk",
            "id ms jv su",
            "cs sk",
            "ru uk be bg mk rue",
            "hi mr ne sa",
            "nl af fy lb li",
            "zh wuu yue ja",
            "fa ar ur ps",
            "tr az tk",
            "it co scn vec lij",
            "xh zu",
            "et fi",
        ),
    )
)
"""Languages that a detector takes for one another."""

LETTERS = 3  # fewer tell nothing of a language
DOUBTFUL = 0.5  # a share below this of the rows of a language looks like that language
PLAUSIBLE = 0.1  # a share below this: it is another language


@dataclass(frozen=True, slots=True)
class Languages:
    """`codes`: the commonest first, with their rows. `column` and `mapping` (cell -> code, where they differ) or detected:
    `share` of the texts look like it, or they are mixed, as `mix` says."""

    rows: dict[str, int]
    column: str | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    mix: str = ""
    notes: list[str] = field(default_factory=list)

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
    match = re.fullmatch(r"([a-z]{2,3})([-_][a-z0-9]{2,8})*", word)
    return None if match is None else SAME_LANGUAGE.get(match[1], ISO3.get(match[1], match[1]))


def languages_of(column: str | None, cells: Sequence[str], least: int) -> Languages:
    """As a column says, or the paths (None: the cells are codes). Left out are languages with fewer than `least` rows, and
    rows without."""
    counts = Counter(cells)
    mapping = {cell: code for cell in counts if (code := code_of(cell) if column is not None else cell) is not None}
    rows: Counter[str] = Counter()
    for cell, code in mapping.items():
        rows[code] += counts[cell]
    few = {code: count for code, count in rows.items() if count < least}
    notes = []
    if few and len(few) < len(rows):
        shown = ", ".join(f"{code} ({count})" for code, count in sorted(few.items())[:8])
        notes.append(f"Left out, as there are too few rows to train and test on: {shown}.")
    else:
        few = {}
    unknown = sum(count for cell, count in counts.items() if cell not in mapping)
    if unknown:
        notes.append(f"{unknown:,} rows name no language in {column!r} and are left out.")
    kept = {code: count for code, count in rows.most_common() if code not in few}
    differing = {cell: code for cell, code in mapping.items() if cell != code and code in kept}
    return Languages(kept, column, differing, notes=notes)


_APART = "If they are: add a column that tells the language of each row, and --lang COLUMN."


def detected(texts: Sequence[str]) -> Languages:
    """By the texts themselves: one language, or `mul` where they are too mixed. No rows where nothing can be told."""
    found = Counter(_detect(texts))
    total = sum(found.values())
    if not total:
        return Languages({})
    best, count = found.most_common(1)[0]
    share = count / total
    if share >= CONSTANT:
        other = strangers(best, texts)
        said = [f"Some texts look like another language than {best}: {other}. {_APART}"] if other else []
        return Languages({best: len(texts)}, share=share, notes=said)
    mix = ", ".join(f"{code} {number / total:.0%}" for code, number in found.most_common(4))
    notes = [
        f"The texts seem to be in several languages ({mix}), and no column tells which row is in which: they are taken together"
        f" as {SEVERAL!r}. With such a column there are results for each language: --lang COLUMN; if it is one: --lang {best}."
    ]
    return Languages({SEVERAL: len(texts)}, mix=mix, notes=notes)


def doubts(said: Languages, cells: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Where the texts of a language look like another one. Raises `UserError` where the paths tell the languages, and none of
    the texts look like theirs: `it/` and `hr/` are departments too."""
    looks = {code: found for code, found in _looks(said, cells, texts).items() if code_of(code) in CODES and found}
    if said.column is None and looks and not any(_plausible(code, found) for code, found in looks.items()):
        other = sum(looks.values(), Counter()).most_common(1)[0][0]
        raise UserError(
            f"The paths seem to name languages ({', '.join(looks)}), but the texts look like {other}.",
            "Give one of the files; or put all rows into one, with a column for what the paths tell.",
        )
    rows = _rows_of(said, cells, texts)
    notes = []
    for code, found in looks.items():
        where = "their path" if said.column is None else repr(said.column)
        if found[str(code_of(code))] / found.total() < DOUBTFUL:
            other, count = found.most_common(1)[0]
            notes.append(f"Rows that {where} calls {code} look like {other} ({count / found.total():.0%} of those seen).")
        elif mix := strangers(str(code_of(code)), rows[code]):
            notes.append(f"Some rows that {where} calls {code} look like another language: {mix}. Correct them in the data.")
    return notes


def strangers(code: str, texts: Sequence[str]) -> str:
    """The languages, with their shares, of texts that are surely in another language than `code`; empty where they are few."""
    from py3langid import classify

    step = max(1, len(texts) // SAMPLE)
    long = [text for text in texts[::step] if _letters(text) >= LETTERS_FOR_SURE]
    if len(long) < LEAST_FOR_SURE:
        return ""
    near = {code}.union(*(group for group in _NEIGHBOURS if code in group))
    codes = (SAME_LANGUAGE.get(found, found) for found in (classify(text)[0] for text in long))
    others = Counter(found for found in codes if found not in near and found in CODES)
    said = [f"{found} {count / len(long):.0%}" for found, count in others.most_common(3) if count >= MIXED * len(long)]
    return ", ".join(said)


def _letters(text: str) -> int:
    """Letters of the text; one of Chinese, Japanese or Korean counts as three."""
    return sum(3 if "\u3040" <= letter <= "\ud7af" else 1 for letter in text if letter.isalpha())


def _looks(said: Languages, cells: Sequence[str], texts: Sequence[str]) -> dict[str, Counter[str]]:
    """Language -> what some of its texts look like."""
    return {code: Counter(_detect(rows)) for code, rows in _rows_of(said, cells, texts).items()}


def _rows_of(said: Languages, cells: Sequence[str], texts: Sequence[str]) -> dict[str, list[str]]:
    """Language -> some of its texts, evenly spread over the file."""
    by_code: dict[str, list[str]] = defaultdict(list)
    for cell, text in zip(cells, texts, strict=True):
        code = said.mapping.get(cell, cell)
        if code in said.rows:
            by_code[code].append(text)
    most = SAMPLE // 4
    return {code: rows[:: max(1, len(rows) // most)][:most] for code, rows in by_code.items()}


def _plausible(code: str, found: Counter[str]) -> bool:
    """Whether some texts look like the language; a detector mistakes it for its neighbours, but not all of the time."""
    return found[str(code_of(code))] >= PLAUSIBLE * found.total()


def doubts_of_code(code: str, texts: Sequence[str], columns: Sequence[str]) -> list[str]:
    """What speaks against `--lang CODE`: bench does not know the code, or the texts look like another language."""
    if code == SEVERAL:
        return []
    found = Counter(_detect(texts))
    total = sum(found.values())
    mix = ", ".join(f"{other} ({count / total:.0%})" for other, count in found.most_common(3))
    seen = f"the texts look like {mix}" if found[code] < DOUBTFUL * total else ""
    if code not in LANGUAGES:
        also = f", and {seen}" if seen else ""
        return [f"--lang {code}: bench has no name for such a language{also}. The columns: {', '.join(columns)}."]
    if seen:
        return [f"--lang says {code}, and {seen}."]
    other = strangers(code, texts)
    return [f"--lang says {code}, and some texts look like another language: {other}. {_APART}"] if other else []


def _detect(texts: Sequence[str]) -> list[str]:
    """The language of each of a sample, without those that have too few letters to tell."""
    from py3langid import classify

    step = max(1, len(texts) // SAMPLE)
    rows = [text for text in texts[::step] if sum(letter.isalpha() for letter in text) >= LETTERS]
    codes = (classify(row)[0] for row in rows)
    return [SAME_LANGUAGE.get(code, code) for code in codes if code not in ("zxx", "und")]
