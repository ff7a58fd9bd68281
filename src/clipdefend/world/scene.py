"""Scenes of the built-in world: what is in picture ``i`` of a split, its caption and its pixels.

Everything is integer arithmetic on counter-based draws, so the bytes are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipdefend.world import captions as words
from clipdefend.world.nouns import CLASSES

SIZE = 64
DRAWS = 48  # integers a scene may use

Pixels = NDArray[np.int32]


def counter_draws(first: int, count: int) -> NDArray[np.int64]:
    """Draws of scenes ``first`` to ``first + count``, shape (count, DRAWS), uniform in 0 .. 2^31 - 1.

    Reference: splitmix64 (Steele, Lea and Flood, 2014) on the counter (scene, draw).
    """
    state = np.arange(first, first + count, dtype=np.uint64)[:, None] * np.uint64(DRAWS)
    state = state + np.arange(DRAWS, dtype=np.uint64)[None, :]
    state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)


class Dice:
    """Reads one scene's draws in order."""

    def __init__(self, draws: NDArray[np.int64]) -> None:
        self._draws = iter(draws.tolist())

    def below(self, bound: int) -> int:
        return int(next(self._draws)) % bound

    def percent(self, share: int) -> bool:
        return self.below(100) < share


@dataclass(frozen=True)
class Thing:
    """One object: its class, the pixels it spans and what its caption says of it."""

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
        """Adjectives and noun without an article, such as "tiny red striped fish"."""
        adjectives = [self.size] if self.say_size else []
        adjectives += [self.colour] if self.say_colour else []
        adjectives += [self.texture] if self.say_texture else []
        noun = words.plural(self.noun) if count else self.noun
        return " ".join(([count] if count else []) + adjectives + [noun])


@dataclass(frozen=True)
class Scene:
    """Content of one picture: a subject, perhaps repeated, perhaps related to an object."""

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
    """Draw a scene's content. With ``label`` the scene is a labelled one: a single object of that class."""
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
    """English caption of a scene."""
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
