from __future__ import annotations

import random
from pathlib import Path

import pytest

from clipdefend.augment.lexicon import load_lexicon
from clipdefend.augment.parsed_caption import Relation
from clipdefend.augment.replace import Replacer
from clipdefend.augment.subcaptions import SubCaption
from subcaption_check import is_consistent


@pytest.mark.parametrize(
    ("relation", "terms", "expected"),
    [
        (Relation("holding", "ing", "holding", ""), ["hold", "keep", "paint"], "painting"),
        (Relation("rides", "s", "rides", ""), ["ride", "carry"], "carries"),
        (Relation("ride", "base", "ride", ""), ["ride on", "lean against"], "lean against"),
        (Relation("rode", "past", "rode", ""), ["ride", "throw"], "threw"),
        (
            Relation("covered with", "participle", "covered", "with"),
            ["cover", "lean on", "tear"],
            "torn with",
        ),
        (Relation("behind", "preposition", "", "behind"), ["behind", "in back of", "above"], "above"),
        (Relation("near", "preposition", "", "near"), ["next to", "beside", "stand near", "push"], "pushing"),
    ],
)
def test_relation_keeps_the_verb_form(
    tmp_path: Path, relation: Relation, terms: list[str], expected: str
) -> None:
    (tmp_path / "relations.txt").write_text("\n".join(terms), encoding="utf-8")
    replacer = Replacer(load_lexicon(tmp_path))
    assert {replacer.relation(relation, random.Random(seed)) for seed in range(30)} == {expected}


def test_between_and_among_need_several_things(tmp_path: Path) -> None:
    (tmp_path / "relations.txt").write_text("between\namong\nbehind", encoding="utf-8")
    replacer = Replacer(load_lexicon(tmp_path))
    old = Relation("on", "preposition", "", "on")
    draws = {several: {replacer.relation(old, random.Random(s), several=several) for s in range(60)}
             for several in (True, False)}  # fmt: skip
    assert draws == {True: {"between", "among", "behind"}, False: {"behind"}}


@pytest.mark.parametrize(
    ("noun", "number", "terms", "expected"),
    [
        ("dogs", "plural", ["dog", "domestic dog", "wolf"], "wolves"),
        ("dog", "singular", ["dogs", "guide dog", "snow", "scissors", "ladder"], "ladder"),
        ("water", "mass", ["ladder", "snow"], "snow"),
        ("water", "mass", ["ladder"], "ladders"),
        ("scissors", "plural", ["scissors", "trousers", "snow"], "trousers"),
        ("car", "singular", ["automobile", "auto", "apple"], "apple"),
    ],
)
def test_noun_keeps_the_number_and_is_not_a_synonym(
    tmp_path: Path, noun: str, number: str, terms: list[str], expected: str
) -> None:
    (tmp_path / "nouns.txt").write_text("\n".join(terms), encoding="utf-8")
    replacer = Replacer(load_lexicon(tmp_path))
    assert {replacer.noun(noun, number, (), random.Random(s)) for s in range(20)} == {expected}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sub", "right"),
    [
        (SubCaption("an old cat on a mat", "a red cat on a mat", "adjective", "old", "red"), True),
        (SubCaption("an old cat on a mat", "a red cat on the mat", "adjective", "old", "red"), False),
        (SubCaption("a cat on a cat", "a dog on an owl", "noun", "cat | cat", "dog | owl"), True),
        (SubCaption("a cat on a cat", "a dog on a cat", "noun", "cat | cat", "dog | owl"), False),
        (
            SubCaption(
                "a light next to a light box", "a light next to a red box", "adjective", "light", "red"
            ),
            True,
        ),
        (SubCaption("a cat on a mat", "a cat on a mat", "noun", "cat", "cat"), False),
        (SubCaption("a cat on a mat", "a cat under a mat", "relation", "on | x", "under"), False),
    ],
)
def test_check(sub: SubCaption, right: bool) -> None:
    assert is_consistent(sub) is right
