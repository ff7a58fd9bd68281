"""English inflection for sub-captions: a or an, plurals, verb forms, and from forms back to stems."""

from __future__ import annotations

import functools
import re
from typing import Literal

from clipdefend.augment.grammar import irregular_verbs, pairs, words

VerbForm = Literal["base", "s", "ing", "past", "participle"]

# Spelled with a vowel, but pronounced like "you" or "one" at the start.
_CONSONANT_SOUND = re.compile(
    r"uni(?!n|mp|ma|d|ss)|us[aeu]|ute|uti|uto|ura|uri|uro|ubi|uku|ufo|usb|us\b|uk\b|url|ups\b|eu|ew|oui|once|"
    r"one(?!\w*ir)"
)
# Pronounced with a vowel at the start: spelled with one, with a silent h, or read letter by letter.
_VOWEL_SOUND = re.compile(
    r"[aeiou]|hour|honest|honou?r|heir|herb|8|11(?:th)?\b|18(?:th)?\b|x-ray|xbox|mp3|nba|"
    r"nfl|nhl|mlb|suv|rv\b|rpg|hd\b|hdtv|lcd|led\b|sd\b|ssd|fm\b|mri\b|mp\b|sos\b|ncaa|xl\b"
)
_HARD_CH = ("monarch", "triarch", "stomach", "epoch", "loch", "tech", "eunuch")
# One syllable that ends in consonant, vowel, consonant doubles its last letter (stop, stopping).
_SHORT_SYLLABLE = re.compile(r"y?[^aeiouy]*(?:qu)?[aeiouy][bdfgklmnprtvz]")
_PREFIX = re.compile(r"(?:over|under|re|un|out|mis|fore|up|inter|pre)(?=\w{2})")
_VOWEL_O = ("ao", "eo", "io", "oo", "uo", "yo")


def article(phrase: str) -> str:
    """Return "a" or "an", by the sound at the start of a phrase."""
    lowered = phrase.lower()
    return "an" if _VOWEL_SOUND.match(lowered) and not _CONSONANT_SOUND.match(lowered) else "a"


def is_plural_only(noun: str) -> bool:
    """Return whether a noun has no singular (scissors, jeans); of a compound, its last word."""
    return noun.rpartition(" ")[2] in words("plural only")


@functools.lru_cache(maxsize=1 << 15)
def is_mass(noun: str) -> bool:
    """Return whether a noun is uncountable: "snow" and "blue cheese" are, "traffic light" is not."""
    first, _, last = noun.rpartition(" ")
    mass = words("mass nouns")
    return noun in mass or (last in mass and not (first and last in words("mass alone")))


@functools.lru_cache(maxsize=1 << 15)
def plural(noun: str) -> str:
    """Return the plural of a singular noun; in a compound, the head is put into the plural."""
    head, of, rest = noun.partition(" of ")
    if of:
        return plural(head) + of + rest
    first, space, last = noun.rpartition(" ")
    if last in words("plural only") or last in words("unchanged plurals"):
        return noun
    irregular = pairs("irregular plurals").get(last)
    if irregular:
        return first + space + irregular
    if last not in words("not men"):
        for end, replacement in pairs("plural endings").items():
            if last.endswith(end):
                return noun[: -len(end)] + replacement
    if last.endswith(("s", "x", "z", "ch", "sh")) and not last.endswith(_HARD_CH):
        return noun + "es"
    if last.endswith("y") and len(last) > 1 and (last[-2] not in "aeiou" or last.endswith("quy")):
        return noun[:-1] + "ies"
    return noun + "s"


@functools.lru_cache(maxsize=1)
def _singulars() -> dict[str, str]:
    return {plural_form: noun for noun, plural_form in pairs("irregular plurals").items()}


@functools.lru_cache(maxsize=1 << 15)
def singular(noun: str) -> str:
    """Return the singular of a plural noun as far as spelling tells; other words are returned unchanged."""
    last = noun.rpartition(" ")[2]
    stem = noun[: len(noun) - len(last)]
    if last in _singulars():
        return stem + _singulars()[last]
    if last in words("unchanged plurals") or last in words("plural only"):
        return noun
    if last in words("ies singulars") or last in words("es singulars"):
        return noun[:-1]
    if last not in words("singular looking plural"):
        for replacement, end in pairs("plural endings").items():
            if last.endswith(end):
                return noun[: -len(end)] + replacement
    if last.endswith("ies") and len(last) > 4:
        return noun[:-3] + "y"
    if last.endswith(("sses", "xes", "ches", "shes", "zzes", "oes")):
        return noun[:-2]
    if last.endswith("s") and not last.endswith(("ss", "us", "is")) and len(last) > 2:
        return noun[:-1]
    return noun


def _doubles(verb: str) -> bool:
    return verb in words("doubling verbs") or _SHORT_SYLLABLE.fullmatch(verb) is not None


def _consonant_y(verb: str) -> bool:
    return verb.endswith("y") and verb[-2:-1] not in ("a", "e", "i", "o", "u", "")


def _regular(verb: str, form: VerbForm) -> str:
    if form == "s":
        if verb in ("quiz", "gas"):
            return verb + verb[-1] + "es"
        if verb.endswith(_VOWEL_O):  # boos, videos, but goes
            return verb + "s"
        if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
            return verb + "es"
        return verb[:-1] + "ies" if _consonant_y(verb) else verb + "s"
    suffix = "ing" if form == "ing" else "ed"
    if verb.endswith("e"):
        if suffix == "ed":
            return verb + "d"
        if verb.endswith("ie"):
            return verb[:-2] + "ying"
        keeps = verb.endswith(("ee", "oe", "ye")) or verb in ("singe", "tinge", "binge")
        return (verb if keeps else verb[:-1]) + "ing"
    if suffix == "ed" and _consonant_y(verb):
        return verb[:-1] + "ied"
    if verb.endswith("ic"):
        return verb + "k" + suffix
    return verb + (verb[-1] if _doubles(verb) else "") + suffix


def _irregular(verb: str) -> tuple[str, str] | None:
    found, prefix = irregular_verbs().get(verb), ""
    match = _PREFIX.match(verb)
    if found is None and match and verb not in words("not prefixed verbs"):
        prefix = match.group()
        found = irregular_verbs().get(verb[match.end() :])
    return (prefix + found[0], prefix + found[1]) if found else None


@functools.lru_cache(maxsize=1 << 15)
def verb_form(verb: str, form: VerbForm) -> str:
    """Inflect a verb, or the first word of a phrase such as "lean against".

    The spelling is American (traveling). Irregular verbs come from a table, also behind a prefix (overtake).

    Args:
        verb: the base form. A preposition has no other forms and comes back as it is.
        form: the form to make.
    """
    if form == "base":
        return verb
    head, space, rest = verb.partition(" ")
    if head in words("prepositions"):
        return verb
    if head in ("be", "have"):
        special = {"be": ("is", "being", "was", "been"), "have": ("has", "having", "had", "had")}[head]
        return special[("s", "ing", "past", "participle").index(form)] + space + rest
    irregular = _irregular(head) if form in ("past", "participle") else None
    inflected = irregular[form == "participle"] if irregular else _regular(head, form)
    return inflected + space + rest


@functools.lru_cache(maxsize=1)
def _verb_bases() -> dict[str, str]:
    regular = {form: base for base, forms in irregular_verbs().items() for form in forms}
    return regular | pairs("verb bases")


@functools.lru_cache(maxsize=1 << 16)
def stems(word: str) -> tuple[str, ...]:
    """Return every base form that a word may be an inflection of, the word itself first.

    Spelling alone cannot tell which one is meant: ``stems("leaves")`` contains both "leave" and "leaf".
    """
    found = dict.fromkeys((word, singular(word)))
    if word in _verb_bases():
        found[_verb_bases()[word]] = None
    for suffix in ("ing", "ed", "es", "s", "er", "est", "d"):
        stem = word[: -len(suffix)]
        if len(stem) < 2 or not word.endswith(suffix):
            continue
        found[stem] = None
        if suffix in ("ing", "ed", "er", "est"):
            found[stem + "e"] = None
            if stem[-1] == stem[-2] or stem.endswith("ck"):
                found[stem[:-1]] = None
        if suffix == "ing" and stem.endswith("y"):
            found[stem[:-1] + "ie"] = None
        if suffix in ("ed", "es", "er", "est") and stem.endswith("i"):
            found[stem[:-1] + "y"] = None
    return tuple(found)


def verb_base(form: str, known: frozenset[str] = frozenset()) -> str:
    """Return the most likely base form of an inflected verb: a known verb among its stems, or else by spelling.

    Args:
        form: one word, such as "stands".
        known: base forms that decide where spelling leaves a choice (hoping, hopping).
    """
    if form in _verb_bases():
        return _verb_bases()[form]
    candidates = stems(form)[1:]
    for candidate in candidates:
        if candidate in known:
            return candidate
    if form.endswith("s") and not form.endswith("ss"):
        if form.endswith("ies") and len(form) > 4:
            return form[:-3] + "y"
        return form[:-2] if form.endswith(("sses", "xes", "ches", "shes", "zzes", "oes")) else form[:-1]
    return form
