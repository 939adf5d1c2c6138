"""How data sets spell languages: codes, names, and the tags of BCP 47. Of languages that py3langid can tell."""

from __future__ import annotations

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
