"""Words that the shipped lexicon knows, for when the tagger does not."""

from __future__ import annotations

import functools

from clipdefend.augment.grammar import pairs, words
from clipdefend.augment.inflect import singular
from clipdefend.augment.lexicon import load_lexicon

_LIVING = words("living")


@functools.lru_cache(maxsize=1)
def _known_nouns() -> frozenset[str]:
    return frozenset(term.term for term in load_lexicon().nouns)


@functools.lru_cache(maxsize=1)
def known_pairs() -> dict[str, frozenset[str]]:
    """First word -> second words of the shipped lexicon's nouns of two words ("fire hydrant")."""
    found: dict[str, set[str]] = {}
    for term in load_lexicon().nouns:
        first, _, second = term.term.partition(" ")
        if second and " " not in second:
            found.setdefault(first, set()).add(second)
    return {first: frozenset(seconds) for first, seconds in found.items()}


@functools.lru_cache(maxsize=1)
def known_verbs() -> frozenset[str]:
    """Verbs of the shipped lexicon, also those that stand there with a preposition ("stare at")."""
    prepositions = words("prepositions") | {
        phrase.split()[0]
        for phrase in (
            *pairs("preposition groups"),
            *words("multiword prepositions"),
            *words("fixed relations"),
        )
    }
    verbs = {term.term.split()[0] for term in load_lexicon().relations}
    return words("settled verbs") | (verbs - prepositions)


def is_known_noun(text: str) -> bool:
    """Whether a word, or its singular, is a noun of the shipped lexicon."""
    return text in _known_nouns() or singular(text) in _known_nouns()


@functools.lru_cache(maxsize=1)
def known_adjectives() -> frozenset[str]:
    """Adjectives of the shipped lexicon."""
    return frozenset(term.term for term in load_lexicon().adjectives)


def is_living(text: str) -> bool:
    """Whether a word, or its singular, is a person or an animal that captions often show."""
    return text in _LIVING or singular(text) in _LIVING
