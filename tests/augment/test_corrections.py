"""Whatever a correction changes, the words of a caption remain one tree."""

from __future__ import annotations

import functools
from itertools import islice
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipdefend.augment.corrections import correct_parse
from clipdefend.augment.reader import MODEL
from clipdefend.augment.scene_graph import load_parsers
from clipdefend.augment.tree import Tree, ancestors

SUBJECTS = (
    "several deer",
    "many fish",
    "two girls",
    "a female skier",
    "an old man wearing a tie",
    "a red stop",
    "a brown teddy bear",
    "gold trimmed clock",
    "a fire hydrant",
)
VERBS = (
    "gather",
    "ski",
    "assemble",
    "paddles",
    "graze",
    "poses",
    "circles",
    "play",
    "sign",
    "stands",
    "looks",
)
PLACES = (
    "outdoors",
    "near",
    "by a lake",
    "with a dog",
    "in a field surrounded by trees",
    "three grey windmills",
    "in a field flying kites",
    "on a table drinking water",
    "in a watering can",
)
LINKS = ("", ",", "and", ", and", "who", "while")


@functools.lru_cache(maxsize=1)
def spacy_pipeline() -> Any:
    return load_parsers(MODEL)[0]


@settings(max_examples=150, deadline=None)
@example(["several deer", "gather", "outdoors", "with a dog", "", "stands", "on a wall"])
@example(["many fish", "ski", "outdoors", "in a field surrounded by trees", "", "looks", "calm"])
@example(["several deer", "assemble", "outdoors", ",", "play", "by a lake"])
@example(["a little powder room", "", "with a blue toilet", "", ",", "multicolored", "tile floor"])
@example(["this picture", "looks", "like a janitors closet", "with a dog", "", "", ""])
@example(["a white stove top oven", "", "", "with a dog", "", "", ""])
@example(["a fire hydrant", "", "", "three grey windmills", "", "", ""])
@given(
    st.tuples(*map(st.sampled_from, (SUBJECTS, VERBS, PLACES, PLACES, LINKS, VERBS, PLACES))).map(list),
)
def test_every_word_hangs_on_its_head_once_and_none_on_itself(parts: list[str]) -> None:
    text = " ".join(" ".join(parts).split())
    tree = Tree(spacy_pipeline()(text), text)
    correct_parse(tree)
    for token in tree.tokens:
        assert all(above is not token for above in islice(ancestors(token), len(tree.tokens))), token.text
        assert all(child.head is token for child in token.children), token.text
        if token.head is not token:
            assert sum(child is token for child in token.head.children) == 1, token.text
