"""What is left of a caption after parsing: small, plain, picklable."""

from __future__ import annotations

from typing import Literal, NamedTuple

Number = Literal["singular", "plural", "mass"]
RelationForm = Literal["preposition", "ing", "s", "base", "past", "participle"]


class Phrase(NamedTuple):
    """A noun phrase.

    Attributes:
        determiner: "a" (to be sounded anew), "the", "two", "his", "several other"; empty without one.
        adjectives: in the order of the caption.
        noun: the head with its compounds, lower case ("stop sign").
        number: decides which replacements fit.
    """

    determiner: str
    adjectives: tuple[str, ...]
    noun: str
    number: Number


class Relation(NamedTuple):
    """What stands between two noun phrases.

    Attributes:
        text: as it is written in the factual sub-caption ("looking up at").
        form: of the verb, "preposition" without one.
        verb: the verb as it is written ("looking"), empty without one.
        tail: the preposition ("at"), empty without one.
    """

    text: str
    form: RelationForm
    verb: str
    tail: str


class Triple(NamedTuple):
    """Subject, relation, object."""

    subject: Phrase
    relation: Relation
    object: Phrase


class ParsedCaption(NamedTuple):
    """A caption, its triples, the main one first, and its key word; None when it has no noun."""

    caption: str
    triples: tuple[Triple, ...]
    key: Phrase | None
