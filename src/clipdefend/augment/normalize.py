"""Bring a caption's tree into the forms that the scene-graph parser recognises, so that it finds every relation."""

from __future__ import annotations

from itertools import pairwise

from clipdefend.augment.corrections import correct_parse
from clipdefend.augment.grammar import words
from clipdefend.augment.tree import PRONOUN, Token, Tree, move, replace_by
from clipdefend.augment.vocabulary import is_known_noun, is_living

_NOUN_SLOTS = frozenset(("nsubj", "nsubjpass", "dobj", "pobj"))
_QUANTIFIERS, _MEDIA = words("quantifiers"), words("media")
_NOT_NOUNS, _ING_NOUNS = words("not nouns"), words("ing nouns")
_MISTAKEN = frozenset(("JJ", "VERB", "RB"))
_RELATIVE = frozenset(("that", "which", "who"))
_SUBJECTS = frozenset(("nsubj", "nsubjpass", "expl", "csubj"))
_HUMAN_VERBS = words("human verbs")
_WORN_OR_HELD = frozenset(("in", "with", "on"))


def normalize_tree(tree: Tree) -> None:
    """Normalize a tree in place and set its noun phrases."""
    correct_parse(tree)
    merge_prepositions(tree)
    for token in tree.tokens:
        if token.i in tree.dropped:
            continue
        text = token.text
        if token.pos_ == "NOUN":
            if text in _QUANTIFIERS or (text in _MEDIA and token.dep_ in ("ROOT", "attr")):
                replace_quantifier(tree, token)
            elif text.endswith("ing"):
                split_participle(token)
            if text in _NOT_NOUNS:
                token.lemma_ = PRONOUN
        elif token.pos_ == "VERB":
            if token.dep_ in ("pobj", "pcomp", "dobj"):
                split_participle(token)
            normalize_clause(tree, token)
        elif token.tag_ in ("PRP", "WP", "WDT", "EX", "DT"):
            token.pos_, token.lemma_ = "PRON", PRONOUN
        if token.pos_ in _MISTAKEN and token.dep_ in _NOUN_SLOTS and _looks_like_noun(token):
            token.pos_ = "NOUN"
    for token in tree.tokens:
        if token.pos_ == "VERB" and token.dep_ in ("conj", "advcl", "xcomp") and token.i not in tree.dropped:
            add_implied_subject(tree, token)
    tree.find_chunks()


def _looks_like_noun(token: Token) -> bool:
    """Return whether a word that was tagged otherwise has a determiner and is a noun of the lexicon."""
    determined = any(child.dep_ in ("det", "poss", "nummod") for child in token.children)
    return determined and is_known_noun(token.text)


def _prepositions() -> dict[tuple[str, str], list[tuple[str, ...]]]:
    """Map two words to the multiword prepositions that begin with them, the longest first."""
    found: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for phrase in sorted(words("multiword prepositions"), key=lambda phrase: (-len(phrase.split()), phrase)):
        parts = tuple(phrase.split())
        if len(parts) > 1:
            found.setdefault((parts[0], parts[1]), []).append(parts)
    return found


_PREPOSITIONS = _prepositions()


def merge_prepositions(tree: Tree) -> None:
    """Merge multiword prepositions such as "to the left of" into one token that governs the noun after it."""
    lowered = [token.text for token in tree.tokens]
    end = 0
    for i, pair in enumerate(pairwise(lowered)):
        if pair in _PREPOSITIONS and i >= end:
            for parts in _PREPOSITIONS[pair]:
                size = len(parts)
                if tuple(lowered[i : i + size]) == parts and _merge(tree, i, i + size):
                    end = i + size
                    break


def _merge(tree: Tree, start: int, end: int) -> bool:
    inside = tree.tokens[start:end]
    below = [child for token in inside for child in token.children if child.i >= end]
    noun = next((child for child in below if child.dep_ in ("pobj", "dobj", "pcomp")), None)
    above = next((token.head for token in inside if not start <= token.head.i < end), None)
    if noun is None or noun.dep_ == "pcomp" or above is None or above.i >= end:
        return False
    first = inside[0]
    for token in inside:
        if not start <= token.head.i < end:
            token.head.children = [child for child in token.head.children if child is not token]
    first.text = first.lemma_ = " ".join(token.text for token in inside)
    first.tag_ = first.pos_ = "IN"
    first.dep_ = "prep"
    noun.dep_ = "pobj"
    first.children = []
    first.head = first
    move(first, above)
    for child in below:
        child.head = first
    first.children = sorted(below, key=lambda token: token.i)
    tree.dropped.update(range(start + 1, end))
    return True


def replace_quantifier(tree: Tree, token: Token) -> None:
    """Replace a quantifier by what it counts: "a couple of dogs on a bed" becomes "dogs on a bed"."""
    link = next((c for c in token.children if c.text == "of" and c.dep_ == "prep"), None)
    noun = next((c for c in link.children if c.dep_ == "pobj"), None) if link else None
    if link is None or noun is None or noun.i < token.i:
        return
    replace_by(token, noun)
    for child in list(token.children):
        if child is not link and child.i > token.i:
            move(child, noun)
        elif child is not link:
            tree.dropped.add(child.i)
    for child in list(link.children):
        if child is not noun:
            move(child, noun)
    tree.dropped.update((token.i, link.i))


def split_participle(token: Token) -> None:
    """Split "a child kneeling in ..." into a noun and its participle where it was taken for a compound."""
    compounds = [c for c in token.children if c.dep_ == "compound" and c.i == token.i - 1 and c.tag_ == "NN"]
    if not compounds or token.text in _ING_NOUNS or not any(c.i > token.i for c in token.children):
        return
    noun = compounds[0]
    replace_by(token, noun)
    for child in list(token.children):
        if child.i < token.i:
            move(child, noun)
    token.head = token
    move(token, noun)
    token.tag_, token.pos_, token.dep_ = "VBG", "VERB", "acl"
    reattach_to_agent(token)


def normalize_clause(tree: Tree, verb: Token) -> None:
    """Rewrite relative clauses, passives and "there is" into the forms that the scene-graph parser reads."""
    children = verb.children
    subject = next((c for c in children if c.dep_ in ("nsubj", "nsubjpass")), None)
    if verb.dep_ == "relcl" and subject is not None and subject.text in _RELATIVE:
        verb.dep_ = "acl"
        verb.children = children = [c for c in children if c is not subject]
        tree.dropped.add(subject.i)
        if subject.text == "who":
            reattach_to_agent(verb)
    elif subject is not None and subject.dep_ == "nsubjpass":
        subject.dep_ = "nsubj"
    elif verb.dep_ == "acl" and verb.tag_ == "VBG":
        reattach_to_agent(verb)
    for child in children:
        if child.dep_ == "agent":
            child.dep_ = "prep"
    if any(c.dep_ == "expl" for c in children):
        noun = next((c for c in children if c.dep_ in ("attr", "nsubj", "dobj")), None)
        if noun is not None:
            noun.dep_ = "attr"
            for child in [
                c for c in children if c.i > noun.i and c.dep_ in ("prep", "acl", "advcl", "advmod")
            ]:
                move(child, noun)
                if child.dep_ == "advcl":
                    child.dep_ = "acl"


def add_implied_subject(tree: Tree, verb: Token) -> None:
    """Give a verb the subject of the verb that governs it, through a token that only the parser sees."""
    above = verb
    for _ in range(4):
        if any(child.dep_ in _SUBJECTS for child in above.children):
            break
        if above.dep_ == "acl":
            break
        if above.dep_ not in ("conj", "advcl", "xcomp") or above.head is above:
            return
        above = above.head
    if above is verb:
        return
    if above.pos_ == "NOUN":
        subject = above
    else:
        subjects = [c for c in above.children if c.dep_ == "nsubj"]
        if not subjects and above.dep_ != "acl":
            return
        subject = subjects[0] if subjects else above.head
    phantom = Token(subject.i, subject.text, subject.tag_, "nsubj", subject.pos_)
    phantom.head = verb
    tree.phantoms.append(phantom)


def reattach_to_agent(verb: Token) -> None:
    """Attach "holding" to the girl in "a girl in a pink shirt holding a cup", though the shirt is nearer."""
    noun = verb.head
    if is_living(noun.text):
        return
    while noun.dep_ == "conj" and noun.head.pos_ == "NOUN":
        noun = noun.head
    link = noun.head
    if noun.dep_ != "pobj" or not (link.text in _WORN_OR_HELD or verb.text in _HUMAN_VERBS):
        return
    doer = link.head
    if doer.pos_ == "VERB" and verb.text in _HUMAN_VERBS:
        subject = next((child for child in doer.children if child.dep_ == "nsubj"), None)
        doer = subject or doer.head
    while doer.dep_ == "pobj" and not is_living(doer.text) and doer.head.dep_ == "prep":
        doer = doer.head.head
    if doer.pos_ == "NOUN" and is_living(doer.text):
        move(verb, doer)
