"""What the shipped lexicon says about a word, for cases where the tagger is wrong."""

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
    """Map first words to second words of the lexicon's two-word nouns ("fire hydrant")."""
    found: dict[str, set[str]] = {}
    for term in load_lexicon().nouns:
        first, _, second = term.term.partition(" ")
        if second and " " not in second:
            found.setdefault(first, set()).add(second)
    return {first: frozenset(seconds) for first, seconds in found.items()}


@functools.lru_cache(maxsize=1)
def known_verbs() -> frozenset[str]:
    """Return the verbs of the lexicon, including those listed with a preposition ("stare at")."""
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
    """Return whether a word, or its singular, is a noun of the lexicon."""
    return text in _known_nouns() or singular(text) in _known_nouns()


@functools.lru_cache(maxsize=1)
def known_adjectives() -> frozenset[str]:
    """Return the adjectives of the lexicon."""
    return frozenset(term.term for term in load_lexicon().adjectives)


def is_living(text: str) -> bool:
    """Return whether a word, or its singular, names a person or an animal that is common in captions."""
    return text in _LIVING or singular(text) in _LIVING
