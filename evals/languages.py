"""Which language a short text is in: by its script first, then by the commonest small words of each language.

Own lists, made for answers of a sentence or two in the languages below. Script decides Greek, Hindi, Korean and
Japanese (by its kana; Chinese is Han without kana) and narrows Cyrillic and Arabic, which are told from Ukrainian and
Persian by letters those alone use. Latin languages are told by their small words, accents adding a little. Not made
for single words, names or mixed texts; then the answer is an empty code or may be wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

NAMES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "pl": "Polish",
    "tr": "Turkish",
    "ru": "Russian",
    "el": "Greek",
    "ar": "Arabic",
    "hi": "Hindi",
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
}
"""The languages told apart, by ISO 639-1 code."""

SMALL_WORDS = {
    "en": "the of and to in is are was it that for on with as this which by from has have at an be its they you "
    "what make makes made days week season capital star bees birds after comes gives give called",
    "de": "der die das und ist sind ein eine im in den dem von zu mit für auf nicht es sich auch wird werden "
    "hat als an aus bei des einen einem einer er sie wir man oder am zum zur diese dieser kann gibt haben "
    "wie ihre über nach was welche welcher welches heißt heisst machen macht kommt folgt tage woche "
    "hauptstadt stern bienen vögel jahreszeit liefert sonne wasser schnee eis",
    "fr": "le la les des de du et est sont un une dans en pour avec que qui sur pas par au aux il elle ce cette "
    "on nous se son sa ses plus ou être a l d c qu n s ont fait peut entre leur très comme quelle quel "
    "vient après font jours semaine saison étoile capitale abeilles oiseaux appelle donne éclaire "
    "produisent",
    "es": "el la los las de del y es son un una en para con que por no se su al lo más como está este esta hay "
    "o sus tiene pero entre muy ser también fue cuando donde tres qué cuál hacen hace días semana "
    "estación capital estrella después viene abejas aves llama producen nos da nieve blanca agua hielo responde",
    "it": "il lo la i gli le di del della dei delle e è sono un una in per con che non si al alla nel nella da "
    "dal più come questo questa ha anche ci suo sua o l molto tra essere degli dalla ne nell dell quale "
    "fanno viene dopo giorni settimana stagione capitale stella api uccelli chiama producono illumina dà acqua diventa "
    "ghiaccio neve rispondi",
    "pt": "o a os as de do da dos das e é são um uma em no na nos nas para com que não se por ao à mais como "
    "este esta isso seu sua também tem ou muito foi entre pelo pela há ser está dois qual fazem vem "
    "depois dias semana estação estrela capital abelhas aves chama produzem dá água gelo neve branca",
    "nl": "de het een en is zijn van in op te dat die voor met niet aan er ook als bij door naar uit wordt "
    "worden heeft deze dit om maar hij zij ze wij kan meer over of hebben tot onder veel daar hun wat "
    "welke welk geeft komt maken maakt na ons overdag ster dagen week seizoen hoofdstad bijen vogels heet "
    "volgt",
    "pl": "i w na jest są z do że nie się to o od po za jak dla przez ale który która które ma jego jej tym ten "
    "ta być oraz ich lub może bardzo tego też gdy tak ze czy mają roku co jaka jaki jakie ile dni tydzień "
    "tygodniu stolicą stolica pora gwiazda pszczoły ptaki robią daje",
    "tr": "ve bir bu da de için ile olarak olan en çok daha var değil ne gibi ya kadar sonra her ise veya o şu "
    "mi mı vardır olur dır dir tarafından üzerinde içinde iki olduğu hangi kaç gün haftada hafta mevsim "
    "yıldız başkenti arılar kuşlar yapar verir gelir",
}
"""Small words and a few everyday ones; some belong to several languages, and count for each."""

ACCENTS = {
    "de": "äöüß",
    "fr": "éèêàçùâîôûœëï",
    "es": "ñáéíóú¿¡",
    "it": "àèéìòù",
    "pt": "ãõáéíóúâêôç",
    "nl": "ëï",
    "pl": "ąćęłńóśźż",
    "tr": "ğışçöü",
    "en": "",
}
ACCENT_WEIGHT = 0.4
OWN_LETTERS = {"de": "ß", "es": "ñ¿¡", "pt": "ãõ", "pl": "ąęłńśźż", "tr": "ğşı", "fr": "œ"}
"""Letters that no other Latin language here writes: each counts as much as a small word."""
SHAPES = {
    "it": re.compile(r"\b(?:l|dell|nell|un|all|dall|c|quest|sull)['’]\w"),
    "fr": re.compile(r"\b(?:l|d|qu|c|n|s|j|m|jusqu)['’]\w"),
}
"""Elisions, which both languages have: they settle a tie against a third."""
FEWEST_POINTS = 1.0
CLEAR_LEAD = 0.5
"""A Latin language needs so many points, and so many more than the next."""

UKRAINIAN, PERSIAN = "іїєґ", "پچژگ"


def count_scripts(text: str) -> Counter[str]:
    """How many letters of each script, by the first word of a character's Unicode name."""
    found: Counter[str] = Counter()
    for character in text:
        if character.isalpha():
            found[unicodedata.name(character, "UNKNOWN").split(" ")[0].split("-")[0]] += 1
    return found


def detect_language(text: str) -> str:
    """The ISO 639-1 code of the language most of the letters are in, or "" where none is clear."""
    scripts = count_scripts(text)
    n_letters = sum(scripts.values())
    if not n_letters:
        return ""
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    east_asian = kana + scripts["CJK"]
    # a Chinese or Japanese character says as much as two or three letters
    if east_asian * 2.5 > n_letters - east_asian:
        return "ja" if kana >= 0.1 * east_asian else "zh"
    script, n = scripts.most_common(1)[0]
    if n < 0.5 * n_letters:
        return ""
    lower = text.casefold()
    if script == "CYRILLIC":
        return "" if any(c in lower for c in UKRAINIAN) else "ru"
    if script == "ARABIC":
        return "" if any(c in lower for c in PERSIAN) else "ar"
    if script == "LATIN":
        return detect_latin_language(lower)
    return {"GREEK": "el", "DEVANAGARI": "hi", "HANGUL": "ko"}.get(script, "")


def detect_latin_language(lower: str) -> str:
    """The Latin language whose small words cover most of the text; "" below `FEWEST_POINTS` or without a lead."""
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", lower))
    points = {
        code: sum(word in small for word in words)
        + ACCENT_WEIGHT * sum(lower.count(c) for c in ACCENTS[code])
        + (1 - ACCENT_WEIGHT) * sum(lower.count(c) for c in OWN_LETTERS.get(code, ""))
        + (len(SHAPES[code].findall(lower)) if code in SHAPES else 0)
        for code, small in ((code, set(text.split())) for code, text in SMALL_WORDS.items())
    }
    (first, most), (_, second) = Counter(points).most_common(2)
    return first if most >= FEWEST_POINTS and most >= second + CLEAR_LEAD else ""
