"""The result of parsing a caption: small, plain and picklable."""

from __future__ import annotations

from typing import Literal, NamedTuple

Number = Literal["singular", "plural", "mass"]
RelationForm = Literal["preposition", "ing", "s", "base", "past", "participle"]


class Phrase(NamedTuple):
    """A noun phrase.

    Attributes:
        determiner: "a" (which stands for "an" too), "the", "two", "his", "several other"; empty without one.
        adjectives: in the order of the caption.
        noun: the head with its compounds, in lower case ("stop sign").
        number: grammatical number, which replacements have to share.
    """

    determiner: str
    adjectives: tuple[str, ...]
    noun: str
    number: Number


class Relation(NamedTuple):
    """The words that relate two noun phrases.

    Attributes:
        text: as written in the factual sub-caption ("looking up at").
        form: grammatical form of the verb; "preposition" without a verb.
        verb: the verb as written ("looking"); empty without one.
        tail: the preposition ("at"); empty without one.
    """

    text: str
    form: RelationForm
    verb: str
    tail: str


class Triple(NamedTuple):
    """A subject, its relation to an object, and the object."""

    subject: Phrase
    relation: Relation
    object: Phrase


class ParsedCaption(NamedTuple):
    """A caption and what it says.

    Attributes:
        caption: the text as given.
        triples: relations between its noun phrases, the main one first.
        key: its main noun phrase; None if it has no noun.
    """

    caption: str
    triples: tuple[Triple, ...]
    key: Phrase | None
