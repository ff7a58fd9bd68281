"""A caption's dependency tree as light Python objects, mended so that the parser sees its relations.

spaCy's tokens are views that look every attribute up again, and the scene-graph parser reads each of them
dozens of times. One copy of what it reads makes it several times faster, and can be changed: prepositions of
many words become one token, "a couple of dogs" becomes "dogs", relative clauses and passives get the form that
the parser knows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from clipdefend.augment.grammar import words

PRONOUN = "-PRON-"  # the lemma by which the scene-graph parser tells pronouns
_CHUNK_DEPS = frozenset(
    ("oprd", "nsubj", "dobj", "nsubjpass", "pcomp", "pobj", "dative", "appos", "attr", "ROOT")
)
_NOUN_SLOTS = frozenset(("nsubj", "nsubjpass", "dobj", "pobj"))
_QUANTIFIERS, _MEDIA = words("quantifiers"), words("media")
_NOT_NOUNS, _ING_NOUNS = words("not nouns"), words("ing nouns")
_RELATIVE = frozenset(("that", "which", "who"))
_SUBJECTS = frozenset(("nsubj", "nsubjpass", "expl", "csubj"))


class Token:
    """One word, with the attributes of a spaCy token that are read."""

    __slots__ = ("children", "dep_", "head", "i", "lemma_", "pos_", "tag_", "text")

    def __init__(self, i: int, text: str, tag: str, dep: str) -> None:
        self.i = i
        self.text = self.lemma_ = text
        self.tag_ = tag
        self.dep_ = dep
        self.head = self
        self.children: list[Token] = []
        self.pos_ = "NOUN" if tag[:2] == "NN" else "VERB" if tag[:2] == "VB" and dep[:3] != "aux" else tag


class Chunk:
    """A noun phrase: tokens ``start`` to ``end`` (exclusive), the last of which is its root."""

    __slots__ = ("end", "lemma_", "root", "start", "text")

    def __init__(self, start: int, root: Token) -> None:
        self.start = start
        self.end = root.i + 1
        self.root = root
        self.text = self.lemma_ = root.text


class Stretch:
    """A slice of a sentence."""

    __slots__ = ("lemma_", "text")

    def __init__(self, tokens: list[Token]) -> None:
        self.text = self.lemma_ = " ".join(token.text for token in tokens)


class Tree:
    """What the scene-graph parser is handed in place of a spaCy document.

    Args:
        doc: a parsed spaCy document.
    """

    def __init__(self, doc: Any) -> None:
        from spacy.attrs import DEP, HEAD, SPACY, TAG

        rows = doc.to_array([DEP, TAG, HEAD, SPACY]).tolist()
        names = _names(doc.vocab)
        lowered = [token.lower_ for token in doc]
        self.tokens = [Token(i, lowered[i], names[row[1]], names[row[0]]) for i, row in enumerate(rows)]
        self.glued = [row[3] == 0 for row in rows]
        tokens = self.tokens
        for token, row in zip(tokens, rows, strict=True):
            if row[2]:
                # The offset is signed, the array is not.
                token.head = tokens[token.i + row[2] - (row[2] >> 63 << 64)]
                token.head.children.append(token)
        self.dropped: set[int] = set()
        self.phantoms: list[Token] = []
        self._mend()
        self.noun_chunks = self._find_chunks()

    def __iter__(self) -> Iterator[Token]:
        dropped = self.dropped
        yield from (token for token in self.tokens if token.i not in dropped)
        yield from self.phantoms

    def __getitem__(self, place: int | slice) -> Token | Stretch:
        return Stretch(self.tokens[place]) if isinstance(place, slice) else self.tokens[place]

    def clear(self) -> None:
        """Cut the links between tokens, so that they go at once instead of waiting for the garbage collector."""
        for token in self.tokens:
            del token.head, token.children
        self.phantoms.clear()

    def _mend(self) -> None:
        merge_prepositions(self)
        for token in self.tokens:
            if token.i in self.dropped:
                continue
            text = token.text
            if token.pos_ == "NOUN":
                if text in _QUANTIFIERS or (text in _MEDIA and token.dep_ in ("ROOT", "attr")):
                    promote(self, token)
                elif text.endswith("ing"):
                    free_participle(token)
                if text in _NOT_NOUNS:
                    token.lemma_ = PRONOUN
            elif token.pos_ == "VERB":
                mend_clause(self, token)
            elif token.tag_ in ("PRP", "WP", "WDT", "EX", "DT"):
                token.pos_, token.lemma_ = "PRON", PRONOUN
            if (
                token.dep_ in _NOUN_SLOTS
                and token.tag_ in ("JJ", "VBG", "VB", "RB")
                and _has_determiner(token)
            ):
                token.pos_ = "NOUN"
                if text in _NOT_NOUNS:
                    token.lemma_ = PRONOUN
        for token in self.tokens:
            if (
                token.pos_ == "VERB"
                and token.dep_ in ("conj", "advcl", "xcomp")
                and token.i not in self.dropped
            ):
                lend_subject(self, token)

    def _find_chunks(self) -> list[Chunk]:
        """Base noun phrases, by the rule of spaCy's ``noun_chunks``."""
        chunks = []
        previous = -1
        for token in self.tokens:
            if token.pos_ not in ("NOUN", "PRON") or token.i in self.dropped:
                continue
            dep, above = token.dep_, token
            while dep == "conj" and above.head.i < above.i:
                above = above.head
                dep = above.dep_
            if dep in _CHUNK_DEPS:
                start = max(_left_edge(token), previous + 1)
                previous = token.i
                chunks.append(Chunk(start, token))
        return chunks


@functools.lru_cache(maxsize=4)
def _names(vocab: Any) -> _Names:
    return _Names(vocab.strings)


class _Names(dict[int, str]):
    """Hash of a tag or dependency -> its name, looked up once."""

    def __init__(self, strings: Any) -> None:
        super().__init__()
        self._strings = strings

    def __missing__(self, key: int) -> str:
        name: str = self._strings[key]
        self[key] = name
        return name


def _left_edge(token: Token) -> int:
    while token.children and token.children[0].i < token.i:
        token = token.children[0]
    return token.i


def _has_determiner(token: Token) -> bool:
    return any(child.dep_ in ("det", "poss", "nummod") for child in token.children)


def move(child: Token, head: Token) -> None:
    """Hang a token elsewhere in the tree."""
    if child.head is not child:
        child.head.children = [other for other in child.head.children if other is not child]
    child.head = head
    head.children = sorted((*head.children, child), key=lambda token: token.i)


def replace_by(old: Token, new: Token) -> None:
    """Let ``new`` (below ``old``) take the place of ``old`` in the tree."""
    new.head.children = [child for child in new.head.children if child is not new]
    new.dep_ = old.dep_
    if old.head is old:
        new.head = new
    else:
        new.head = old.head
        new.head.children = [new if child is old else child for child in old.head.children]


def _prepositions() -> dict[tuple[str, str], list[tuple[str, ...]]]:
    """First two words -> the many-word prepositions that start with them, longest first."""
    found: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for phrase in sorted(words("multiword prepositions"), key=lambda phrase: (-len(phrase.split()), phrase)):
        parts = tuple(phrase.split())
        if len(parts) > 1:
            found.setdefault((parts[0], parts[1]), []).append(parts)
    return found


_PREPOSITIONS = _prepositions()


def merge_prepositions(tree: Tree) -> None:
    """Make "to the left of" and its like one token that governs the noun behind it."""
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


def promote(tree: Tree, token: Token) -> None:
    """ "A couple of dogs on a bed": let the dogs stand for the couple."""
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


def free_participle(token: Token) -> None:
    """ "A child kneeling in ..." taken for a compound noun: make the child kneel."""
    compounds = [c for c in token.children if c.dep_ == "compound" and c.i == token.i - 1 and c.tag_ == "NN"]
    if not compounds or token.text in _ING_NOUNS or not any(c.dep_ == "prep" for c in token.children):
        return
    noun = compounds[0]
    replace_by(token, noun)
    for child in list(token.children):
        if child.i < token.i:
            move(child, noun)
    token.head = token
    move(token, noun)
    token.tag_, token.pos_, token.dep_ = "VBG", "VERB", "acl"


def mend_clause(tree: Tree, verb: Token) -> None:
    """Bring relative clauses, passives and "there is" into the forms that the scene-graph parser reads."""
    children = verb.children
    subject = next((c for c in children if c.dep_ in ("nsubj", "nsubjpass")), None)
    if verb.dep_ == "relcl" and subject is not None and subject.text in _RELATIVE:
        verb.dep_ = "acl"
        verb.children = children = [c for c in children if c is not subject]
        tree.dropped.add(subject.i)
    elif subject is not None and subject.dep_ == "nsubjpass":
        subject.dep_ = "nsubj"
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


def lend_subject(tree: Tree, verb: Token) -> None:
    """Give a verb the subject of the verb it hangs on, through a token that only the parser meets."""
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
    phantom = Token(subject.i, subject.text, subject.tag_, "nsubj")
    phantom.head = verb
    tree.phantoms.append(phantom)
