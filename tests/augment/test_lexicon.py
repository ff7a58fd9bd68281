from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from clipdefend.augment.grammar import irregular_verbs
from clipdefend.augment.inflect import article, singular, verb_form
from clipdefend.augment.lexicon import Term, load_lexicon
from clipdefend.augment.replace import is_preposition
from clipdefend.errors import DataError

KINDS = ("nouns", "adjectives", "relations")


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_lists(kind: str) -> None:
    terms = getattr(load_lexicon(), kind)
    names = [term.term for term in terms]
    assert len(names) == len(set(names)) == 3000
    assert all(re.fullmatch("[a-z]+(?:[ '-][a-z]+)*", name) for name in names)
    sources = Counter(term.source for term in terms)
    assert set(sources) == {"wordnet", "written"}
    assert 1900 <= sources["wordnet"] <= 2100
    bands = Counter(term.band for term in terms)
    assert set(bands) == {"common", "medium", "rare"}
    assert min(bands.values()) > 450
    order = ["common", "medium", "rare"]
    assert [order.index(term.band) for term in terms] == sorted(order.index(term.band) for term in terms)


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_in_two_spellings_or_inflections(kind: str) -> None:
    names = {term.term for term in getattr(load_lexicon(), kind)}
    assert len({re.sub("[ -]", "", name) for name in names}) == len(names)
    assert not names & {"grey", "cosy", "syphon", "vizor", "instil"}
    if kind == "adjectives":
        assert not names & {"bigger", "older", "lower"}
    if kind == "nouns":
        assert not [name for name in names if singular(name) != name and singular(name) in names]
    if kind == "relations":
        # Prepositions have one form, which is not a second entry.
        assert not [name for name in names if name != verb_form(name, "ing") in names]


def test_no_offensive_words_and_no_names() -> None:
    names = {term.term for kind in KINDS for term in getattr(load_lexicon(), kind)}
    assert not names & {"retard", "suck", "obscene", "chinked", "sputnik", "velcro", "hoover", "mike"}


def test_shipped_relations_hold_verbs_and_prepositions() -> None:
    names = [term.term for term in load_lexicon().relations]
    prepositions = [name for name in names if is_preposition(name)]
    assert {"behind", "to the left of", "in front of", "next to", "on top of"} <= set(prepositions)
    assert 100 < len(prepositions) < 300
    assert sum(" " not in name for name in names) > 1500
    assert not {verb_form(name, "s") for name in names if not is_preposition(name)} & set(names)


def test_irregular_verbs_of_the_lexicon_are_not_regular() -> None:
    # Past forms that English speakers would stumble over if the table missed them.
    wanted = {
        "hold": "held",
        "throw": "threw",
        "catch": "caught",
        "draw": "drew",
        "shake": "shook",
        "tear": "tore",
    }
    names = {term.term for term in load_lexicon().relations}
    for verb, past in wanted.items():
        assert verb in names
        assert verb_form(verb, "past") == past
    assert all(len(forms) == 2 and all(forms) for forms in irregular_verbs().values())


@pytest.mark.parametrize("words", ["queen", "yacht", "wagon", "jeep"])
def test_consonants_take_a(words: str) -> None:
    assert article(words) == "a"


def test_user_lists_replace_only_what_they_give(tmp_path: Path) -> None:
    (tmp_path / "nouns.txt").write_text("# mine\nUnicorn\n\n  fire   truck \nunicorn\n", encoding="utf-8")
    (tmp_path / "adjectives.tsv").write_text(
        "term\tsource\tband\nred\tmine\tcommon\nblue\n", encoding="utf-8-sig"
    )
    lexicon = load_lexicon(tmp_path)
    assert list(lexicon.nouns) == [Term("unicorn", "user", ""), Term("fire truck", "user", "")]
    assert list(lexicon.adjectives) == [Term("red", "mine", "common"), Term("blue", "user", "")]
    assert lexicon.relations == load_lexicon().relations
    assert "car" in lexicon.synonyms


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nouns.txt", "", "contains no terms"),
        ("nouns.txt", "dog\nc4t\n", r"nouns.txt, line 2: 'c4t'"),
        ("nouns.tsv", "dog\ta\tb\tc\n", r"nouns.tsv, line 1"),
        ("relations.txt", "x" * 61 + "\n", r"relations.txt, line 1"),
        ("verbs.txt", "run\n", "none of nouns, adjectives, relations"),
    ],
)
def test_broken_user_lists(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load_lexicon(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_forms_of_one_list(tmp_path: Path) -> None:
    for ending in ("tsv", "txt"):
        (tmp_path / f"nouns.{ending}").write_text("dog\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"both nouns\.tsv and nouns\.txt"):
        load_lexicon(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_lexicon(tmp_path / "absent")


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "nouns.txt").write_bytes(b"\xff\xfe\x00dog")
    with pytest.raises(DataError, match="cannot be read"):
        load_lexicon(tmp_path)
