"""Random replacements for parts of a sub-caption, which never mean the same as what they replace."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

from clipdefend.augment.grammar import pairs, words
from clipdefend.augment.inflect import is_mass, is_plural_only, plural, singular, stems, verb_form
from clipdefend.augment.lexicon import Lexicon
from clipdefend.augment.parsed_caption import Number, Relation

_SMALL_WORDS = frozenset(("a", "an", "the", "of", "in", "on", "at", "to", "by", "with", "for", "and"))
_OF_SEVERAL = words("of several")
_TRIES = 40
REMEMBERED = 1 << 14  # words whose synonyms are cached


class Replacer:
    """Draws terms of a lexicon for nouns, adjectives and relations.

    Terms that share a word or a stem with what they replace are never drawn, nor are its synonyms.

    Args:
        lexicon: terms to draw from. Relations may be verbs ("chase"), verbs with a preposition ("lean against") and
            prepositions.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._synonyms = lexicon.synonyms
        nouns = [term.term for term in lexicon.nouns]
        self._mass = [noun for noun in nouns if is_mass(noun)]
        self._plural_only = [noun for noun in nouns if is_plural_only(noun)]
        special = {*self._mass, *self._plural_only}
        self._count = [noun for noun in nouns if noun not in special]
        self._plurals = [*self._count, *self._plural_only]
        self._adjectives = [term.term for term in lexicon.adjectives]
        relations = [term.term for term in lexicon.relations]
        self._prepositions = [term for term in relations if is_preposition(term)]
        self._verbs = [term for term in relations if not is_preposition(term)]
        self._plain_verbs = [term for term in self._verbs if " " not in term]
        self._blocked: dict[str, frozenset[str]] = {}

    def noun(self, old: str, number: Number, others: Sequence[str], rng: random.Random) -> str | None:
        """Draw a noun of the given number that is unrelated to ``old`` and ``others``; None if there is none."""
        pools = {"mass": self._mass or self._plurals, "plural": self._plurals, "singular": self._count}
        found = self._pick(pools[number], (old, *others), rng)
        if found is None or number == "singular" or (number == "mass" and self._mass):
            return found
        return plural(found)

    def adjective(self, old: str, others: Sequence[str], rng: random.Random) -> str | None:
        """Draw an adjective that is unrelated to ``old`` and ``others``; None if there is none."""
        return self._pick(self._adjectives, (old, *others), rng)

    def relation(self, old: Relation, rng: random.Random, *, several: bool = True) -> str | None:
        """Draw a relation in the same grammatical form; None if there is none.

        A preposition is replaced by another one or, as often, by a verb in -ing. A participle keeps its
        preposition ("covered with", "painted with"). Other verbs are replaced by a verb, with a preposition of
        its own where it needs one.

        Args:
            several: whether the object is plural, as "between" and "among" need it.
        """
        if old.form == "preposition":
            group = pairs("preposition groups").get(old.tail, old.tail)
            pools = [self._prepositions, self._verbs]
            if rng.random() < 0.5:
                pools.reverse()
            found = None
            for pool in pools:
                found = found or self._pick(
                    pool,
                    (old.text,),
                    rng,
                    lambda term: _group(term) == group or (not several and term in _OF_SEVERAL),
                )
            return verb_form(found, "ing") if found and not is_preposition(found) else found
        if old.form == "participle":
            found = self._pick(self._plain_verbs, (old.verb,), rng)
            return f"{verb_form(found, 'participle')} {old.tail}".strip() if found else None
        found = self._pick(self._verbs, (old.verb,), rng)
        return verb_form(found, old.form) if found else None

    def _pick(
        self,
        pool: Sequence[str],
        olds: Sequence[str],
        rng: random.Random,
        refuse: Callable[[str], bool] | None = None,
    ) -> str | None:
        if not pool:
            return None
        blocked = [self._blocked.get(old) or self._find_blocked(old) for old in olds]

        def fits(term: str) -> bool:
            related = any(term in taken or not taken.isdisjoint(_stems_of(term)) for taken in blocked)
            return not related and not (refuse is not None and refuse(term))

        size = len(pool)
        for _ in range(_TRIES):
            term = pool[int(rng.random() * size)]
            if fits(term):
                return term
        start = int(rng.random() * size)
        return next((term for term in (*pool[start:], *pool[:start]) if fits(term)), None)

    def _find_blocked(self, old: str) -> frozenset[str]:
        """Return the stems of the words of ``old``, and the synonyms of the whole and of its words."""
        blocked = set(_stems_of(old))
        for stem in {*stems(old), *blocked}:
            blocked.update(self._synonyms.listed(stem))
        if " " in old:
            blocked.update(word for form in (old, singular(old)) for word in self._synonyms.of_phrase(form))
        if len(self._blocked) >= REMEMBERED:
            self._blocked.clear()
        self._blocked[old] = frozenset(blocked)
        return self._blocked[old]


@functools.lru_cache(maxsize=1 << 15)
def _stems_of(term: str) -> frozenset[str]:
    parts = [part for part in term.replace("-", " ").split() if part not in _SMALL_WORDS] or term.split()
    return frozenset(stem for part in parts for stem in stems(part))


@functools.lru_cache(maxsize=1 << 13)
def is_preposition(term: str) -> bool:
    """Return whether a relation is a preposition ("behind", "to the left of") and not a verb."""
    if term in pairs("preposition groups") or term in words("multiword prepositions"):
        return True
    return term in words("fixed relations") or term.split()[0] in words("prepositions")


def _group(term: str) -> str:
    """Return what a relation says about place: "standing next to" and "beside" both mean "near"."""
    groups = pairs("preposition groups")
    if is_preposition(term):
        return groups.get(term, term)
    tail = term.partition(" ")[2]
    return groups.get(tail, tail)
