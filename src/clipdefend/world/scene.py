"""Scenes of the built-in world: what image ``i`` of a split shows, and its caption.

Draws are counter-based: a scene depends on its number alone, and is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipdefend.world import captions as words
from clipdefend.world.nouns import CLASSES

SIZE = 64
"""Side of an image, in pixels."""
DRAWS = 48
"""Number of random integers that a scene can use."""

Pixels = NDArray[np.int32]


def counter_draws(first: int, count: int) -> NDArray[np.int64]:
    """Return the random integers of some consecutive scenes.

    Args:
        first: number of the first scene.
        count: number of scenes.

    Returns:
        Shape (count, DRAWS), uniform from 0 to 2^31 - 1.

    Reference: splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014), applied to
    the counter (scene, draw).
    """
    state = np.arange(first, first + count, dtype=np.uint64)[:, None] * np.uint64(DRAWS)
    state = state + np.arange(DRAWS, dtype=np.uint64)[None, :]
    state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)


class Dice:
    """One scene's random integers, used up in order.

    Args:
        draws: a row of ``counter_draws``, shape (DRAWS,).
    """

    def __init__(self, draws: NDArray[np.int64]) -> None:
        self._draws = iter(draws.tolist())

    def below(self, bound: int) -> int:
        """Draw an integer from 0 to ``bound - 1``."""
        return int(next(self._draws)) % bound

    def percent(self, share: int) -> bool:
        """Draw True with a probability of ``share`` percent."""
        return self.below(100) < share


@dataclass(frozen=True)
class Thing:
    """Something in a scene: how it is drawn, and what the caption says about it.

    Attributes:
        label: index of its class.
        pixels: its width, in pixels.
        colour, texture, size: keys of ``COLOURS``, one of ``TEXTURES``, key of ``SIZES``.
        say_size, say_colour, say_texture: whether the caption mentions them.
        flipped: whether it is mirrored left to right.
    """

    label: int
    pixels: int
    colour: str
    texture: str
    size: str
    say_size: bool
    say_colour: bool
    say_texture: bool
    flipped: bool

    @property
    def noun(self) -> str:
        return CLASSES[self.label]

    def phrase(self, count: str = "") -> str:
        """Return adjectives and noun, such as "tiny red striped fish".

        Args:
            count: a word of ``COUNTS``, which makes the noun plural; empty for the singular, without an article.
        """
        adjectives = [self.size] if self.say_size else []
        adjectives += [self.colour] if self.say_colour else []
        adjectives += [self.texture] if self.say_texture else []
        noun = words.plural(self.noun) if count else self.noun
        return " ".join(([count] if count else []) + adjectives + [noun])


@dataclass(frozen=True)
class Scene:
    """What one image shows: a subject, which may be repeated or related to an object.

    Attributes:
        subject, object: what is shown; the object is None without a relation.
        count: how many times the subject is shown, 1 to 3.
        relation: of subject to object; None for a subject alone.
        pattern: draw that chooses the caption's sentence pattern.
        determiner: whether a verb takes the third-person pattern.
    """

    subject: Thing
    count: int
    relation: words.Relation | None
    object: Thing | None
    pattern: int
    determiner: bool


def _thing(dice: Dice, label: int | None, scale: int) -> Thing:
    colours, sizes = list(words.COLOURS), list(words.SIZES)
    size = sizes[dice.below(len(sizes))]
    texture = words.TEXTURES[dice.below(len(words.TEXTURES))] if dice.percent(50) else "plain"
    drawn = dice.below(len(CLASSES))
    pixels = words.SIZES[size] * scale // 100 + dice.below(3) - 1
    return Thing(
        label=drawn if label is None else label,
        pixels=min(max(pixels, 11), SIZE - 4),
        colour=colours[dice.below(len(colours))],
        texture=texture,
        size=size,
        say_size=size != "medium" and dice.percent(40),
        say_colour=dice.percent(40),
        say_texture=texture != "plain" and dice.percent(50),
        flipped=dice.percent(50),
    )


def compose(dice: Dice, *, label: int | None = None) -> Scene:
    """Draw what a scene shows.

    Args:
        dice: of the scene, unused so far.
        label: class of a labelled scene, which shows a single thing of that class; None for any scene.
    """
    single = dice.percent(60) or label is not None
    relation = None if single else words.RELATIONS[dice.below(len(words.RELATIONS))]
    scales = relation.scale if relation else (100, 100)
    subject = _thing(dice, label, scales[0])
    obj = _thing(dice, None, scales[1]) if relation else None
    repeated = single and label is None and dice.percent(15)
    return Scene(
        subject=subject,
        count=2 + dice.below(2) if repeated else 1,
        relation=relation,
        object=obj,
        pattern=dice.below(60),
        determiner=dice.percent(20),
    )


def caption(scene: Scene) -> str:
    """Return the English caption of a scene."""
    subject = scene.subject
    if scene.relation is None or scene.object is None:
        count = words.COUNTS[scene.count - 2] if scene.count > 1 else ""
        phrase = subject.phrase(count)
        noun_phrase = phrase if count else words.with_article(phrase, subject.noun)
        pattern = words.SINGLE_PATTERNS[scene.pattern % len(words.SINGLE_PATTERNS)]
        if pattern.startswith("there is") and (count or subject.noun == "scissors"):
            pattern = pattern.replace("is", "are", 1)
        return pattern.format(a=noun_phrase)
    relation, other = scene.relation, scene.object
    a, b = subject.phrase(), other.phrase()
    pattern = words.PAIR_PATTERNS[scene.pattern % len(words.PAIR_PATTERNS)]
    if relation.s and scene.determiner and subject.noun != "scissors":
        pattern = words.VERB_PATTERN
    if subject.noun == "scissors":
        pattern = pattern.replace(" is ", " are ")
    return pattern.format(
        a=words.with_article(a, subject.noun),
        b=words.with_article(b, other.noun),
        the_a=f"the {a}",
        the_b=f"the {b}",
        ing=relation.ing,
        s=relation.s,
    )
