"""Correct tags and attachments where the words leave no doubt: colours, sizes, patterns, plain verbs.

The tagger now and then takes "orange", "grey" or "medium" for nouns and "spotted" for a verb; in "the hat circles
three windmills" it sees a compound noun. The neighbouring words are the better guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.augment.compounds import fix_compounds
from clipdefend.augment.grammar import words
from clipdefend.augment.inflect import singular, verb_form
from clipdefend.augment.part_of_speech import fix_part_of_speech
from clipdefend.augment.tree import ancestors
from clipdefend.augment.vocabulary import is_known_noun

if TYPE_CHECKING:
    from clipdefend.augment.tree import Token, Tree

_ADJECTIVES, _ORANGE = words("sure adjectives"), words("orange things")
_VERBS = frozenset(verb_form(verb, "s") for verb in words("settled verbs"))
_NOUN_TAGS = frozenset(("NN", "NNS", "NNP", "NNPS"))
_MISTAKEN_TAGS = frozenset(("RB", "JJ", "VB", "VBP", "VBZ"))
_CLAUSES = frozenset(("ccomp", "advcl", "xcomp", "acl", "relcl", "parataxis"))
_LOOSE = frozenset(("appos", "dep", "npadvmod", "nummod"))


def correct_parse(tree: Tree) -> None:
    """Correct a tree in place."""
    tokens = tree.tokens
    fix_compounds(tokens)
    start = -1
    for token in tokens:
        if token.text in _ADJECTIVES:
            start = token.i if start < 0 else start
        elif start >= 0:
            fix_adjectives(tokens, start, token)
            start = -1
    for token in tokens:
        tag = token.tag_
        if tag in ("NN", "NNS", "NNP", "VB", "VBP", "JJ", "RB"):
            fix_part_of_speech(tokens, token)
            tag = token.tag_
        if tag in ("NNS", "VBZ") and token.text in _VERBS:
            fix_verb(tokens, token)
        elif tag in ("VBP", "VBZ") and token.dep_ == "compound":
            fix_finite_verb(token)
        elif tag == "NN" and token.dep_ in _CLAUSES and token.text.endswith("ing"):
            token.tag_, token.pos_ = "VBG", "VERB"
        elif tag == "VBG" and token.dep_ == "ROOT":
            fix_subject(token)
        elif tag == "IN" and token.dep_ == "prep" and not token.children:
            fix_object(tokens, token)


def fix_adjectives(tokens: list[Token], start: int, noun: Token) -> None:
    """Attach a run of adjectives, which begins at ``start``, to the noun that follows it."""
    run = tokens[start : noun.i]
    if any(word.dep_ == "conj" for word in run) or (noun.i - start == 1 and noun.text in _ORANGE):
        return
    if noun.tag_ not in _NOUN_TAGS:
        if noun.tag_ not in _MISTAKEN_TAGS or not is_known_noun(noun.text):
            return
        noun.tag_, noun.pos_ = "NN" if singular(noun.text) == noun.text else "NNS", "NOUN"
    if all(word.head is noun and word.dep_ == "amod" for word in run):
        for word in run:
            word.tag_ = "JJ"
    elif noun.dep_ == "compound" and noun.head.i > noun.i:
        fix_adjectives_of_compound(run, noun)
    else:
        make_head(run, noun)


def make_head(run: list[Token], noun: Token) -> None:
    """Make a noun the head of its adjectives, in the place of one that was mistaken for the head."""
    start = run[0].i
    together = {word.i for word in (*run, noun)}
    top = next((word for word in run if together.isdisjoint(above.i for above in ancestors(word))), noun)
    outside = [child for word in run for child in word.children if not start <= child.i <= noun.i]
    own = [child for child in noun.children if not start <= child.i < noun.i]
    if top is not noun:
        noun.dep_ = top.dep_
        if noun.head is not noun:
            noun.head.children.remove(noun)
        if top.head is top:
            noun.head = noun
        else:
            noun.head = top.head
            top.head.children[top.head.children.index(top)] = noun
    for word in run:
        if word.head is not noun and not start <= word.head.i <= noun.i:
            word.head.children[:] = [child for child in word.head.children if child is not word]
        make_adjective(word, noun)
    for child in outside:
        child.head = noun
    noun.children = sorted({child.i: child for child in (*own, *outside, *run)}.values(), key=lambda t: t.i)
    for child in noun.children:
        if child.i > noun.i and child.dep_ in _CLAUSES:
            child.dep_ = "acl"
    if noun.dep_ in _CLAUSES and noun.head.pos_ == "VERB":
        noun.dep_ = "dobj" if noun.head.i < noun.i else "nsubj"


def fix_adjectives_of_compound(run: list[Token], noun: Token) -> None:
    """Attach adjectives in "an orange fire truck", where they were taken for parts of the compound."""
    head = noun.head
    for word in run:
        if word.dep_ == "compound" and word.head in (noun, head) and not word.children:
            word.head.children.remove(word)
            make_adjective(word, head)
            head.children = sorted((*head.children, word), key=lambda token: token.i)


def make_adjective(word: Token, noun: Token) -> None:
    """Turn a token into an adjective of a noun. The caller updates the children of the noun."""
    word.tag_, word.pos_, word.dep_ = "JJ", "ADJ", "amod"
    word.head = noun
    word.children = []


def fix_verb(tokens: list[Token], verb: Token) -> None:
    """Read "circles" in "the hat circles three windmills" as a verb: it stands between two noun phrases."""
    if {"nsubj", "dobj"} <= {child.dep_ for child in verb.children}:
        verb.tag_, verb.pos_ = "VBZ", "VERB"
        return
    if not 0 < verb.i < len(tokens) - 1 or tokens[verb.i + 1].tag_ not in ("DT", "CD", "JJ", "PRP$"):
        return
    subject = tokens[verb.i - 1]
    if subject.tag_ not in _NOUN_TAGS or subject.head is not verb or subject.dep_ != "compound":
        return
    thing = next((token for token in tokens[verb.i + 1 :] if token.tag_ in _NOUN_TAGS), None)
    while thing is not None and thing.dep_ == "compound" and thing.head.i > thing.i:
        thing = thing.head
    if thing is None or any(token.tag_ in ("IN", ",", "CC") for token in tokens[verb.i : thing.i]):
        return
    for child in [child for child in verb.children if child.i < subject.i]:
        verb.children.remove(child)
        child.head = subject
        child.dep_ = "amod" if child.dep_ == "nsubj" else child.dep_
        subject.children.append(child)
    subject.children.sort(key=lambda token: token.i)
    subject.dep_ = "nsubj"
    verb.tag_, verb.pos_ = "VBZ", "VERB"
    if verb.head is not verb:
        verb.head.children.remove(verb)
        verb.head, verb.dep_ = verb, "ROOT"
    if thing.head is not thing:
        thing.head.children.remove(thing)
    thing.head, thing.dep_ = verb, "dobj"
    verb.children = sorted((*verb.children, thing), key=lambda token: token.i)


def fix_finite_verb(verb: Token) -> None:
    """Read "ride" in "a man and a woman ride horses" as a verb and not as a compound: it has a subject."""
    thing = verb.head
    if thing.i < verb.i or not any(child.dep_ == "nsubj" for child in verb.children):
        return
    thing.children.remove(verb)
    verb.dep_ = thing.dep_
    verb.head = verb if thing.head is thing else thing.head
    if verb.head is not verb:
        above = verb.head.children
        above[above.index(thing)] = verb
    thing.head, thing.dep_ = verb, "dobj"
    verb.children.append(thing)


def fix_subject(verb: Token) -> None:
    """Make the noun before the verb its subject in "a butterfly chasing a flower"."""
    if not any(child.dep_ in ("nsubj", "nsubjpass", "expl") for child in verb.children):
        for child in verb.children:
            if child.i == verb.i - 1 and child.tag_ in _NOUN_TAGS:
                child.dep_ = "nsubj"


def fix_object(tokens: list[Token], preposition: Token) -> None:
    """Make "clouds" the object of "behind" in "a bridge behind three clouds", where it was attached elsewhere."""
    for token in tokens[preposition.i + 1 :]:
        if token.tag_ in _NOUN_TAGS and token.dep_ != "compound":
            if token.dep_ in _LOOSE and token.head.i < preposition.i:
                token.head.children.remove(token)
                token.head, token.dep_ = preposition, "pobj"
                preposition.children.append(token)
            return
        if token.tag_ not in ("DT", "CD", "JJ", "NN", "PRP$"):
            return
