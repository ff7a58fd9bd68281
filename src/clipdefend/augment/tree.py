"""A caption's dependency tree as light Python objects, which stand in for a spaCy document.

spaCy's tokens are views that look up every attribute anew, and the scene-graph parser reads each of them dozens of
times. A copy of what it reads is several times faster. Unlike a document, it can also be changed, so that the parser
finds relations that it would miss: multiword prepositions become one token, "a couple of dogs" becomes "dogs", and
relative clauses and passives are rewritten.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

PRONOUN = "-PRON-"  # the lemma by which the scene-graph parser recognises pronouns
_CHUNK_DEPS = frozenset(
    ("oprd", "nsubj", "dobj", "nsubjpass", "pcomp", "pobj", "dative", "appos", "attr", "ROOT")
)


class Token:
    """One word, with those attributes of a spaCy token that are read."""

    __slots__ = ("children", "dep_", "head", "i", "lemma_", "pos_", "tag_", "text")

    def __init__(self, i: int, text: str, tag: str, dep: str, pos: str) -> None:
        self.i = i
        self.text = self.lemma_ = text
        self.tag_ = tag
        self.dep_ = dep
        self.pos_ = pos
        self.head = self
        self.children: list[Token] = []


class Root:
    """The root of a chunk as the scene-graph parser sees it: without modifiers, which ``phrases`` reads."""

    __slots__ = ("dep_", "head", "i", "lemma_", "text")

    children = ()

    def __init__(self, token: Token) -> None:
        self.i = token.i
        self.text = token.text
        self.lemma_ = token.lemma_
        self.dep_ = token.dep_
        self.head = token.head


class Chunk:
    """A noun phrase: tokens ``start`` to ``end`` (exclusive), of which the last is its root."""

    __slots__ = ("end", "lemma_", "root", "start", "text")

    def __init__(self, start: int, root: Token) -> None:
        self.start = start
        self.end = root.i + 1
        self.root = Root(root)
        self.text = self.lemma_ = root.text


class Span:
    """A slice of a tree, with those attributes of a spaCy span that are read."""

    __slots__ = ("lemma_", "text")

    def __init__(self, tokens: list[Token]) -> None:
        self.text = self.lemma_ = " ".join(token.text for token in tokens)


class Tree:
    """The stand-in for a spaCy document that the scene-graph parser gets.

    Args:
        doc: a parsed spaCy document.
        text: the text of the document.

    Attributes:
        tokens: all words, in order.
        glued: for each word, whether the next one follows without a space.
        hyphenated: whether the text has a hyphen or a slash.
        dropped: positions of words that the parser does not get to see.
        phantoms: further tokens for the parser, such as implied subjects.
        noun_chunks: noun phrases, set by ``find_chunks``.
    """

    def __init__(self, doc: Any, text: str) -> None:
        from spacy.attrs import DEP, HEAD, LENGTH, SPACY, TAG

        rows = doc.to_array([DEP, TAG, HEAD, SPACY, LENGTH]).tolist()
        names = _names(doc.vocab)
        self.tokens: list[Token] = []
        self.glued: list[bool] = []
        tokens, glued = self.tokens, self.glued
        at = 0
        for i, (dep, tag, _, space, length) in enumerate(rows):
            tokens.append(Token(i, text[at : at + length].lower(), *names[tag, dep]))
            glued.append(not space)
            at += length + space
        for token, (_, _, head, _, _) in zip(tokens, rows, strict=True):
            if head:
                # The array is unsigned, but the offset is signed.
                token.head = above = tokens[token.i + head - (head >> 63 << 64)]
                above.children.append(token)
        self.hyphenated = "-" in text or "/" in text
        self.dropped: set[int] = set()
        self.phantoms: list[Token] = []
        self.noun_chunks: list[Chunk] = []

    def __iter__(self) -> Iterator[Token]:
        dropped = self.dropped
        kept = [token for token in self.tokens if token.i not in dropped] if dropped else self.tokens
        return iter([*kept, *self.phantoms])

    def __getitem__(self, place: int | slice) -> Token | Span:
        return Span(self.tokens[place]) if isinstance(place, slice) else self.tokens[place]

    def clear(self) -> None:
        """Break the reference cycles between tokens, so that memory is freed without the garbage collector."""
        for token in self.tokens:
            del token.head, token.children
        self.phantoms.clear()

    def find_chunks(self) -> None:
        """Set the base noun phrases by the rules of spaCy's ``noun_chunks``."""
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
        self.noun_chunks = chunks


@functools.lru_cache(maxsize=4)
def _names(vocab: Any) -> _Names:
    return _Names(vocab.strings)


class _Names(dict[tuple[int, int], tuple[str, str, str]]):
    """Maps hashes of a tag and a dependency to their names and the coarse part of speech."""

    def __init__(self, strings: Any) -> None:
        super().__init__()
        self._strings = strings

    def __missing__(self, key: tuple[int, int]) -> tuple[str, str, str]:
        tag, dep = (self._strings[part] for part in key)
        pos = "NOUN" if tag[:2] == "NN" else "VERB" if tag[:2] == "VB" and dep[:3] != "aux" else tag
        self[key] = (tag, dep, pos)
        return self[key]


def _left_edge(token: Token) -> int:
    while token.children and token.children[0].i < token.i:
        token = token.children[0]
    return token.i


def ancestors(token: Token) -> Iterator[Token]:
    """Yield the words above a token in the tree, the nearest first."""
    while token.head is not token:
        token = token.head
        yield token


def move(child: Token, head: Token) -> None:
    """Attach a token to another head."""
    if child.head is not child:
        child.head.children = [other for other in child.head.children if other is not child]
    child.head = head
    head.children = sorted((*head.children, child), key=lambda token: token.i)


def replace_by(old: Token, new: Token) -> None:
    """Put ``new``, which is below ``old``, in the place of ``old``."""
    new.head.children = [child for child in new.head.children if child is not new]
    new.dep_ = old.dep_
    if old.head is old:
        new.head = new
    else:
        new.head = old.head
        new.head.children = [new if child is old else child for child in old.head.children]
