from __future__ import annotations

import pytest

from clipdefend.augment.inflect import article, is_mass, plural, singular, stems, verb_base, verb_form


@pytest.mark.parametrize(
    ("article_", "words"),
    [
        (
            "an",
            "apple old hour honest_man umbrella unidentified_bird herb 8_ball 11th_floor x-ray utter_mess onion",
        ),
        (
            "a",
            "banana house unicorn European used_car one-way_street uniform utensil ewe union USB_stick hotel",
        ),
    ],
)
def test_article_follows_the_sound(article_: str, words: str) -> None:
    for phrase in words.split():
        assert article(phrase.replace("_", " ")) == article_, phrase


@pytest.mark.parametrize(
    "pair",
    [
        "cat cats",
        "bus buses",
        "box boxes",
        "church churches",
        "city cities",
        "toy toys",
        "knife knives",
        "roof roofs",
        "child children",
        "fireman firemen",
        "human humans",
        "goose geese",
        "mongoose mongooses",
        "sheep sheep",
        "goldfish goldfish",
        "potato potatoes",
        "piano pianos",
        "cactus cacti",
        "quiz quizzes",
        "monarch monarchs",
        "arch arches",
        "bookshelf bookshelves",
        "scissors scissors",
        "cookie cookies",
        "horse horses",
        "shoe shoes",
        "canoe canoes",
        "mustache mustaches",
        "person people",
        "leaf leaves",
    ],
)
def test_plural_and_back(pair: str) -> None:
    one, many = pair.split()
    assert plural(one) == many
    assert singular(many) == one
    assert singular(one) == one


def test_plural_of_compounds() -> None:
    assert plural("fire truck") == "fire trucks"
    assert plural("slice of pizza") == "slices of pizza"
    assert plural("police woman") == "police women"


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("chase", "chases chasing chased chased"),
        ("carry", "carries carrying carried carried"),
        ("stop", "stops stopping stopped stopped"),
        ("visit", "visits visiting visited visited"),
        ("permit", "permits permitting permitted permitted"),
        ("ride", "rides riding rode ridden"),
        ("overtake", "overtakes overtaking overtook overtaken"),
        ("tie", "ties tying tied tied"),
        ("panic", "panics panicking panicked panicked"),
        ("dye", "dyes dyeing dyed dyed"),
        ("quit", "quits quitting quit quit"),
        ("syphon", "syphons syphoning syphoned syphoned"),
        ("watch", "watches watching watched watched"),
        ("mix", "mixes mixing mixed mixed"),
        ("see", "sees seeing saw seen"),
        ("have", "has having had had"),
        ("boo", "boos booing booed booed"),
        ("video", "videos videoing videoed videoed"),
        ("veto", "vetoes vetoing vetoed vetoed"),
        ("forgo", "forgoes forgoing forwent forgone"),
        ("forego", "foregoes foregoing forewent foregone"),
        ("undergo", "undergoes undergoing underwent undergone"),
        ("overdo", "overdoes overdoing overdid overdone"),
    ],
)
def test_verb_forms(verb: str, forms: str) -> None:
    s, ing, past, participle = forms.split()
    assert verb_form(verb, "base") == verb
    assert verb_form(verb, "s") == s
    assert verb_form(verb, "ing") == ing
    assert verb_form(verb, "past") == past
    assert verb_form(verb, "participle") == participle
    assert all(verb in stems(form) for form in (s, ing) if verb != "have")


def test_phrases_inflect_their_verb() -> None:
    assert verb_form("lean against", "ing") == "leaning against"
    assert verb_form("ride on", "past") == "rode on"
    assert verb_form("be made of", "s") == "is made of"


@pytest.mark.parametrize("preposition", ["into", "onto", "in front of"])
def test_prepositions_have_one_form(preposition: str) -> None:
    assert {verb_form(preposition, form) for form in ("base", "s", "ing", "past", "participle")} == {
        preposition
    }


@pytest.mark.parametrize(
    ("form", "base"),
    [("stands", "stand"), ("rides", "ride"), ("watches", "watch"), ("carries", "carry"), ("has", "have"),
     ("goes", "go"), ("crosses", "cross"), ("broke", "break")],
)  # fmt: skip
def test_verb_base(form: str, base: str) -> None:
    assert verb_base(form) == base


def test_verb_base_prefers_known_verbs() -> None:
    assert verb_base("hoping", frozenset({"hope"})) == "hope"
    assert verb_base("hopping", frozenset({"hop", "hope"})) == "hop"


def test_mass_nouns() -> None:
    assert is_mass("snow")
    assert is_mass("lawn furniture")
    assert not is_mass("traffic light")
    assert not is_mass("snow globe")
