"""Join words that belong together but that the parser separated: "fire hydrant", "a chocolate frosted donut"."""

from __future__ import annotations

import functools

from clipdefend.augment.grammar import irregular_verbs, words
from clipdefend.augment.inflect import is_mass, singular, verb_base
from clipdefend.augment.tree import Token, ancestors, move, replace_by
from clipdefend.augment.vocabulary import is_living, known_pairs

_PART_TAGS = frozenset(("NN", "NNP"))
_HEAD_TAGS = frozenset(("NN", "NNS", "NNP", "JJ", "RB", "MD", "VBP"))
_LINKS = frozenset(("compound", "nmod", "poss"))
_DETERMINERS = frozenset(("det", "nummod", "poss"))
_CLAUSES = frozenset(("xcomp", "ccomp", "advcl"))
_ING_NOUNS = words("ing nouns")
_A = frozenset(("a", "an"))


def fix_compounds(tokens: list[Token]) -> None:
    """Join the compounds of a caption in place, from left to right."""
    pairs = known_pairs()
    for word in tokens[1:]:
        part = tokens[word.i - 1]
        tag = word.tag_
        heads = pairs.get(part.text)
        if heads and tag in _HEAD_TAGS and (word.text in heads or singular(word.text) in heads):
            fix_known_pair(part, word)
        elif tag in ("VBN", "VBD"):
            if part.tag_ in ("NN", "NNS") and not _may_be_verb(word.text):
                join_compound(part, word)
            elif word.dep_ == "ROOT":
                fix_participle(tokens, word)
        elif tag[:2] in ("VB", "NN") and word.text.endswith("ing"):
            fix_place(word)


def join_compound(part: Token, noun: Token) -> None:
    """Make the first of two words a compound of the second, which takes over its place in the tree."""
    if part.head is not noun:
        if any(above is noun for above in ancestors(part)):
            return
        move(noun, part)
        replace_by(part, noun)
        part.head = part
    for child in list(part.children):
        move(child, noun)
    for child in noun.children:
        if child.i > noun.i and child.dep_ in _CLAUSES:
            child.dep_ = "acl"
    move(part, noun)
    part.dep_ = "compound"
    noun.tag_, noun.pos_ = ("NN" if singular(noun.text) == noun.text else "NNS"), "NOUN"


def fix_known_pair(part: Token, noun: Token) -> None:
    """Join two words that the lexicon has as one noun: "a fire hydrant", "in a watering can"."""
    if part.tag_ in _PART_TAGS and part.dep_ not in _LINKS:
        join_compound(part, noun)


@functools.lru_cache(maxsize=1 << 12)
def _may_be_verb(text: str) -> bool:
    """Return whether a word can be a past form or a participle at all; "oven" and "closet" cannot."""
    if text.endswith("ed") or text in words("other participles"):
        return True
    return verb_base(text, frozenset(irregular_verbs())) in irregular_verbs()


def fix_participle(tokens: list[Token], verb: Token) -> None:
    """Turn a verb into an adjective in "a chocolate frosted donut" and "gold trimmed clock".

    A bare singular noun such as "donut" is not an object, so the chocolate did not frost it. Where a comma separates
    the two nouns, they are two things; a person in front of the verb may well be its subject.
    """
    subject = next((child for child in verb.children if child.dep_ == "nsubj"), None)
    thing = next((child for child in verb.children if child.dep_ == "dobj"), None)
    if subject is None or thing is None or thing.tag_ not in ("NN", "RB") or is_mass(thing.text):
        return
    bare = not any(child.dep_ in _DETERMINERS for child in thing.children)
    aided = any(child.dep_[:3] == "aux" for child in verb.children)
    if not bare or aided or is_living(subject.text) or not verb.text.endswith("ed"):
        return
    if any(token.dep_ != "compound" for token in tokens[verb.i + 1 : thing.i]) or thing.i < verb.i:
        return
    adjacent = subject.i == verb.i - 1
    top = thing if adjacent else subject
    replace_by(verb, top)
    for child in list(verb.children):
        if child is not top and child is not subject:
            move(child, top)
    if adjacent:
        for child in list(subject.children):
            move(child, thing)
        subject.dep_ = "npadvmod"
    else:
        thing.dep_ = "conj"
    thing.tag_, thing.pos_ = "NN", "NOUN"
    verb.head = verb
    verb.tag_, verb.pos_, verb.dep_ = "JJ", "ADJ", "amod"
    move(verb, thing)


def fix_place(doing: Token) -> None:
    """Separate "in a field | flying kites": the article belongs to the field, since nobody says "a kites"."""
    thing = doing.head
    if thing.i != doing.i + 1 or doing.dep_ not in ("amod", "compound") or thing.tag_[:2] != "NN":
        return
    single = next((child for child in thing.children if child.text in _A), None)
    place = next((c for c in (*doing.children, *thing.children) if c.i == doing.i - 1), None)
    if single is None or place is None or place.tag_ != "NN" or single.i > place.i:
        return
    if doing.text in _ING_NOUNS or (thing.tag_ != "NNS" and not is_mass(thing.text)):
        return
    place.head.children.remove(place)
    place.head = place
    move(place, thing)
    replace_by(thing, place)
    thing.head = thing
    for child in list(thing.children):
        if child.i < place.i:
            move(child, place)
    move(doing, place)
    doing.tag_, doing.pos_, doing.dep_ = "VBG", "VERB", "acl"
    move(thing, doing)
    thing.dep_ = "dobj"
