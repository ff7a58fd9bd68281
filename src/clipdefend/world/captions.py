"""Vocabulary and sentence patterns of the built-in world."""

from __future__ import annotations

from dataclasses import dataclass

# Everything below decides the bytes of every scene: a change here needs a new ``splits.VERSION``.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 40, 36),
    "orange": (240, 132, 24),
    "yellow": (240, 212, 44),
    "green": (44, 156, 60),
    "blue": (40, 84, 208),
    "purple": (132, 52, 172),
    "pink": (240, 140, 180),
    "brown": (124, 80, 44),
    "black": (28, 28, 32),
    "white": (244, 244, 240),
    "grey": (132, 136, 140),
}
"""RGB of each colour, 0 to 255."""
SIZES: dict[str, int] = {
    "tiny": 18,
    "small": 22,
    "medium": 28,
    "large": 34,
    "huge": 40,
}
"""Width of an object of each size, in pixels. Captions never mention "medium"."""
TEXTURES: tuple[str, ...] = ("plain", "striped", "spotted", "checkered")
"""Captions never mention "plain"."""

COUNTS: tuple[str, ...] = ("two", "three")
PLURALS: dict[str, str] = {
    "fish": "fish",
    "cherry": "cherries",
    "butterfly": "butterflies",
    "bus": "buses",
    "leaf": "leaves",
    "scissors": "scissors",
}
"""Irregular plurals; every other noun takes an "s"."""

SINGLE_PATTERNS: tuple[str, ...] = (
    "{a}",
    "a photo of {a}",
    "a picture of {a}",
    "there is {a}",
    "an image showing {a}",
    "one can see {a} here",
)
PAIR_PATTERNS: tuple[str, ...] = (
    "{a} {ing} {b}",
    "a photo of {a} {ing} {b}",
    "there is {a} {ing} {b}",
    "{the_a} is {ing} {the_b}",
    "a picture of {a} {ing} {b}",
)
VERB_PATTERN = "{the_a} {s} {b}"
"""The third-person pattern, which only verbs can fill."""
TEMPLATES: tuple[str, ...] = (
    "a photo of a {}",
    "a picture of a {}",
    "there is a {}",
    "an image showing a {}",
    "one can see a {} here",
)
"""Prompts of the classes."""


@dataclass(frozen=True)
class Relation:
    """A spatial or verbal relation: its wording, and how subject and object are placed and drawn.

    Attributes:
        ing: words between the two noun phrases, such as "chasing" or "to the left of".
        s: third person of a verb, such as "chases"; empty for a preposition.
        offset: from the object's centre to the subject's, (x, y), in eighths of the mean of their widths.
        scale: widths of subject and object, in percent of the width that their sizes call for.
        mark: what is drawn besides the two: "" for nothing, "rope", "dots", "speed" or "drops"; "ring" draws the
            subject three times around the object.
        subject_on_top: whether the subject covers the object where they overlap.
    """

    ing: str
    s: str = ""
    offset: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (85, 85)
    mark: str = ""
    subject_on_top: bool = True


RELATIONS: tuple[Relation, ...] = (
    Relation("above", offset=(0, -10)),
    Relation("below", offset=(0, 10)),
    Relation("to the left of", offset=(-11, 0)),
    Relation("to the right of", offset=(11, 0)),
    Relation("next to", offset=(-8, 1)),
    Relation("on top of", offset=(0, -8)),
    Relation("behind", offset=(3, -2), subject_on_top=False),
    Relation("in front of", offset=(-3, 2)),
    Relation("inside", scale=(55, 160)),
    Relation("chasing", "chases", offset=(-11, 0), mark="speed"),
    Relation("pulling", "pulls", offset=(11, 2), scale=(80, 80), mark="rope"),
    Relation("watching", "watches", offset=(-9, 9), scale=(80, 80), mark="dots"),
    Relation("carrying", "carries", offset=(0, 8), scale=(105, 55)),
    Relation("lifting", "lifts", offset=(0, 11), scale=(80, 70), mark="rope"),
    Relation("dropping", "drops", offset=(0, -11), scale=(80, 65), mark="drops"),
    Relation("circling", "circles", scale=(45, 90), mark="ring"),
    Relation("pushing", "pushes", offset=(-7, 0), scale=(90, 90), mark="drops"),
)


def plural(noun: str) -> str:
    """Return the plural of a built-in noun."""
    return PLURALS.get(noun, noun + "s")


def with_article(phrase: str, noun: str) -> str:
    """Return a noun phrase with "a" or "an" in front of it.

    Args:
        phrase: singular, adjectives included, such as "orange cat".
        noun: the noun in it; "scissors" has no singular and takes no article.
    """
    if noun == "scissors":
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
