"""Read the words between two nouns of a tree as a relation with its grammatical form."""

from __future__ import annotations

from clipdefend.augment.grammar import irregular_verbs, words
from clipdefend.augment.inflect import verb_base, verb_form
from clipdefend.augment.parsed_caption import Number, Relation, RelationForm
from clipdefend.augment.tree import Token

_KNOWN_VERBS = frozenset(irregular_verbs())
_BE = frozenset(("is", "are", "was", "were", "be", "being", "been", "'s", "am"))
_HAVE = frozenset(("has", "have", "had"))
_INTRANSITIVE = words("intransitive verbs")
_DETERMINERS = frozenset(("det", "nummod", "poss"))


def read_relation(subject: Token, thing: Token, number: Number) -> Relation | None:
    """Read the relation between a subject and an object, without auxiliaries.

    Args:
        subject, thing: roots of the two phrases.
        number: number of the subject, with which a finite verb has to agree.

    Returns:
        The relation; None if the verb is negated or no words are left.
    """
    top = thing
    while top.dep_ == "conj" and top.head is not top:
        top = top.head
    above = top.head
    prepositions: list[Token] = []
    if top.dep_ == "pobj":
        while above.tag_ in ("IN", "TO", "RP") and len(prepositions) < 3:
            prepositions.insert(0, above)
            above = above.head
        if above.tag_[:2] in ("JJ", "RB"):
            prepositions.insert(0, above)
            above = above.head
    elif top.dep_ not in ("dobj", "attr"):
        return None
    tail = [p.text for p in prepositions if p.i < thing.i]
    if above.pos_ != "VERB" or thing.i < subject.i:
        return _preposition(tail)
    deps = {child.dep_ for child in above.children}
    if "neg" in deps:
        return None
    is_be = above.text in _BE
    if is_be and not tail:
        return Relation("are", "base", "be", "") if number == "plural" else Relation("is", "s", "be", "")
    if is_be or (tail and "dobj" in deps):
        return _preposition(tail)
    if not tail and _cannot_have(above, thing):
        return None
    return _verbal(above, thing, tail, number, bool(prepositions))


def _cannot_have(verb: Token, thing: Token) -> bool:
    """Return whether a verb takes no object, so that the parse must be wrong: "standing some grass"."""
    if verb.text in _INTRANSITIVE and not any(child.dep_ == "prt" for child in verb.children):
        return True
    return verb.text == "left" and not any(child.dep_ in _DETERMINERS for child in thing.children)


def _preposition(tail: list[str]) -> Relation | None:
    text = " ".join(tail)
    return Relation(text, "preposition", "", text) if text else None


def _verbal(verb: Token, thing: Token, tail: list[str], number: Number, oblique: bool) -> Relation | None:
    chain: list[str] = []
    particles = [c.text for c in verb.children if _is_particle(c) and c.text not in tail[:1]]
    if tail:
        # "surrounded around a person with a beard on": a particle after the object belongs elsewhere.
        particles = [c.text for c in verb.children if _is_particle(c) and c.text != tail[0] and c.i < thing.i]
    while verb.dep_ == "xcomp" and verb.head.pos_ == "VERB" and len(chain) < 4:
        # "trying to catch": the first verb is inflected. But "people are seen eating" is about eating.
        if verb.tag_ == "VBG" and _is_passive(verb.head):
            break
        helpers = [c for c in verb.children if c.tag_ == "TO" or c.text == "be"]
        chain[:0] = [c.text for c in helpers if c.i < verb.i] + [verb.text]
        verb = verb.head
    passive = _is_passive(verb)
    if passive and not tail and not chain:
        return None  # "the dog is given a bone" does not say who gives
    form = _form(verb, oblique or passive)
    word = verb.text
    if form in ("s", "base"):
        base = verb_base(word, _KNOWN_VERBS) if verb.tag_ == "VBZ" else word
        form = "base" if number == "plural" else "s"
        word = verb_form(base, form)
    elif form == "past" and verb.tag_ == "VBN":
        # The two forms differ in irregular verbs only.
        base = verb_base(word, _KNOWN_VERBS)
        word = verb_form(base, "past") if base in _KNOWN_VERBS else word
    return Relation(" ".join((word, *chain, *particles, *tail)), form, word, " ".join(tail))


def _is_particle(token: Token) -> bool:
    if token.dep_ == "prt":
        return True
    return token.tag_ == "RP" and token.dep_ == "prep" and not token.children and token.i == token.head.i + 1


def _is_passive(verb: Token) -> bool:
    """Return whether a verb is a participle with a form of "be"."""
    return verb.tag_ == "VBN" and any(
        child.text in _BE and child.dep_[:3] == "aux" for child in verb.children
    )


def _form(verb: Token, oblique: bool) -> RelationForm:
    tag = verb.tag_
    if tag == "VBG":
        return "ing"
    if tag in ("VBZ", "VBP", "VB"):
        return "s"
    if tag == "VBN":
        perfect = any(child.text in _HAVE for child in verb.children if child.dep_ == "aux")
        return "past" if perfect or not oblique else "participle"
    return "participle" if verb.dep_ == "acl" and oblique else "past"
