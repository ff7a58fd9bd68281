"""Words that the shipped lexicon knows, for when the tagger does not."""

from __future__ import annotations

import functools

from clipdefend.augment.grammar import words
from clipdefend.augment.inflect import singular
from clipdefend.augment.lexicon import load_lexicon

_LIVING = words("living")


@functools.lru_cache(maxsize=1)
def _known_nouns() -> frozenset[str]:
    return frozenset(term.term for term in load_lexicon().nouns)


@functools.lru_cache(maxsize=1)
def known_verbs() -> frozenset[str]:
    return words("settled verbs").union(t.term for t in load_lexicon().relations if " " not in t.term)


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
