"""Captions of the built-in world: vocabulary, grammar, agreement with what is drawn."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from clipdefend import world
from clipdefend.world import captions as words
from clipdefend.world.scene import Dice, Scene, Thing, caption, compose, counter_draws
from clipdefend.world.splits import LAYOUTS

COUNT = 4000
UNSAID = {"plain", "medium"}  # what a thing is when nothing is said of it


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [compose(Dice(row)) for row in counter_draws(0, COUNT)]


@pytest.fixture(scope="module")
def texts(scenes: list[Scene]) -> list[str]:
    return [caption(scene) for scene in scenes]


def thing(noun: str, **changes: object) -> Thing:
    values = {
        "pixels": 27,
        "colour": "red",
        "texture": "striped",
        "size": "large",
        "say_size": False,
        "say_colour": False,
        "say_texture": False,
        "flipped": False,
    }
    return Thing(label=world.CLASSES.index(noun), **{**values, **changes})  # type: ignore[arg-type]


def scene(subject: Thing, **changes: object) -> Scene:
    values = {"count": 1, "relation": None, "object": None, "pattern": 1, "determiner": False}
    return Scene(subject=subject, **{**values, **changes})  # type: ignore[arg-type]


def relation(ing: str) -> words.Relation:
    return next(each for each in words.RELATIONS if each.ing == ing)


def test_the_vocabulary_is_as_large_as_promised() -> None:
    assert len(world.CLASSES) == len(set(world.CLASSES)) >= 40
    assert "banana" in world.CLASSES
    assert len({*words.COLOURS, *words.SIZES, *words.TEXTURES} - UNSAID) >= 12
    assert len(words.RELATIONS) >= 12
    assert sum(bool(each.s) for each in words.RELATIONS) >= 6
    assert len(words.SINGLE_PATTERNS) + len(words.PAIR_PATTERNS) >= 4
    assert LAYOUTS["train"].size == 20_000
    assert LAYOUTS["eval"].size == 2_000


def test_every_word_of_the_vocabulary_is_used(texts: list[str]) -> None:
    used = Counter(word for text in texts for word in text.split())
    joined = " | ".join(texts)
    assert not [noun for noun in world.CLASSES if not used[noun] and not used[words.plural(noun)]]
    said = {*words.COLOURS, *words.SIZES, *words.TEXTURES} - UNSAID
    assert not [each for each in said if not used[each]]
    assert not [each for each in UNSAID if used[each]]
    assert not [each.ing for each in words.RELATIONS if f" {each.ing} " not in joined]
    assert not [each.s for each in words.RELATIONS if each.s and not used[each.s]]


def test_most_captions_are_different(texts: list[str]) -> None:
    assert len(set(texts)) > 0.6 * COUNT


def test_articles_plurals_and_verbs_agree(texts: list[str]) -> None:
    adjectives = "|".join((*words.COLOURS, *words.SIZES, *words.TEXTURES))
    for text in texts:
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", text), text
        assert not re.search(r"\ba [aeiou]", text), text
        assert not re.search(r"\ban [^aeiou]", text), text
        assert not re.search(rf"\b(an?|one|is)( (a|{adjectives}))* scissors\b", text), text
        assert not re.search(r"\bscissors is\b|\bthere is (two|three)\b|\bthere are an?\b", text), text
        for number in re.finditer(rf"\b(two|three)((?: (?:{adjectives}))*) (\w+)", text):
            assert number[3] in {words.plural(noun) for noun in world.CLASSES}, text


def test_captions_by_hand() -> None:
    assert caption(scene(thing("umbrella"))) == "a photo of an umbrella"
    large = thing("fish", say_size=True, say_colour=True, say_texture=True)
    assert caption(scene(large, pattern=0)) == "a large red striped fish"
    assert caption(scene(thing("apple", colour="orange", say_colour=True))) == "a photo of an orange apple"
    assert caption(scene(thing("cherry"), count=3, pattern=3)) == "there are three cherries"
    assert caption(scene(thing("scissors"), pattern=3)) == "there are scissors"
    pulls = {"relation": relation("pulling"), "object": thing("anchor")}
    assert caption(scene(thing("cat"), **pulls, pattern=3)) == "the cat is pulling the anchor"
    assert caption(scene(thing("cat"), **pulls, determiner=True)) == "the cat pulls an anchor"
    assert (
        caption(scene(thing("scissors"), **pulls, determiner=True)) == "a photo of scissors pulling an anchor"
    )
    assert caption(scene(thing("scissors"), **pulls, pattern=3)) == "the scissors are pulling the anchor"
    beside = {"relation": relation("next to"), "object": thing("scissors")}
    assert (
        caption(scene(thing("cat"), **beside, pattern=2, determiner=True))
        == "there is a cat next to scissors"
    )


def test_a_labelled_scene_shows_one_thing_of_its_class() -> None:
    for label, row in enumerate(counter_draws(1 << 32, len(world.CLASSES))):
        made = compose(Dice(row), label=label)
        assert (made.subject.label, made.count, made.relation, made.object) == (label, 1, None, None)


def test_templates_name_the_class_once() -> None:
    assert all(template.count("{}") == 1 for template in world.TEMPLATES)
