from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest

from clipdefend.augment.eda import Eda, delete, insert_synonyms, replace_synonyms, swap
from clipdefend.augment.synonyms import read_synonyms, shipped_synonyms
from clipdefend.errors import DataError

WORDS = ["a", "large", "dog", "chases", "the", "small", "grey", "cat"]


class Scripted(random.Random):
    """Returns the given numbers in turn."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self._numbers = list(numbers)

    def random(self) -> float:
        return self._numbers.pop(0)


@pytest.mark.parametrize(
    "caption", ["A dog's 2 CATS!", "x", "a", "The", "tree", "an apple on a table", "12 dogs"]
)
def test_never_empty_and_only_letters(caption: str) -> None:
    for seed in range(200):
        out = Eda(deletion=1.0)(caption, random.Random(seed))
        assert out
        assert out == out.lower().strip()
        assert all(c.isalpha() or c == " " for c in out)


@pytest.mark.parametrize("caption", ["", "   ", "2024", "!?", "猫"])
def test_captions_without_letters_come_back(caption: str) -> None:
    assert Eda()(caption, random.Random(1)) == caption


def test_equal_generators_give_equal_variants_and_different_ones_differ() -> None:
    caption = " ".join(WORDS)
    first = [Eda()(caption, random.Random(seed)) for seed in range(50)]
    assert first == [Eda()(caption, random.Random(seed)) for seed in range(50)]
    assert len(set(first)) > 20


def test_pickles() -> None:
    eda = pickle.loads(pickle.dumps(Eda(alpha=0.3)))
    assert eda == Eda(alpha=0.3)
    assert eda("two dogs", random.Random(0))


def test_replacement_takes_a_synonym_of_a_content_word_and_replaces_it_everywhere() -> None:
    words = ["the", "dog", "and", "the", "dog"]
    out = replace_synonyms(words, 5, random.Random(3))
    assert out[0] == out[3] == "the"
    assert out[2] == "and"
    assert out[1] == out[4]
    assert out[1] in shipped_synonyms()["dog"]


def test_stop_words_are_never_replaced() -> None:
    assert replace_synonyms(["the", "of", "a"], 3, random.Random(0)) == ["the", "of", "a"]


def test_insertion_adds_exactly_count_synonyms() -> None:
    out = insert_synonyms(["qqqq", "dog"], 1, Scripted(0.0, 0.99, 0.99, 0.0))
    # First try meets "qqqq" (no synonyms), the second "dog"; the place is 1, the synonym the first one.
    assert out == ["qqqq", shipped_synonyms().listed("dog")[0], "dog"]


def test_swap_by_hand() -> None:
    assert swap(["a", "b", "c"], 1, Scripted(0.0, 0.99)) == ["c", "b", "a"]
    assert swap(["a"], 1, Scripted()) == ["a"]


def test_deletion_by_hand() -> None:
    assert delete(["a", "b", "c"], 0.5, Scripted(0.4, 0.5, 0.6)) == ["b", "c"]
    assert delete(["a", "b"], 1.0, Scripted(0.1, 0.1, 0.6)) == ["b"]


@pytest.mark.parametrize(("name", "value"), [("alpha", -0.1), ("alpha", 1.5), ("deletion", 2.0)])
def test_ranges(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=str(value)):
        Eda(**{name: value})


def test_all_four_operations_are_drawn_about_equally() -> None:
    words = " ".join(WORDS)
    shorter = longer = same_bag = changed = 0
    for seed in range(800):
        out = Eda()(words, random.Random(seed)).split()
        if sorted(out) == sorted(WORDS):
            same_bag += 1
        elif set(out) < set(WORDS):
            shorter += 1
        elif set(WORDS) < set(out):
            longer += 1
        else:
            changed += 1
    # Deletion at 0.1 over eight words leaves all of them in 43 % of its draws.
    assert 140 < longer < 260
    assert 140 < changed < 260
    assert 60 < shorter < 170
    assert 200 < same_bag < 370


def test_table_finds_inflected_words_and_misses_unknown_ones() -> None:
    table = shipped_synonyms()
    assert "domestic dog" in table["dogs"]
    assert "dog" not in table["dog"]
    assert "maintain" in table["holds"]
    with pytest.raises(KeyError):
        table["qqqq"]
    assert "car" in table
    assert len(table) > 30_000


@pytest.mark.parametrize("text", ["dog\n", "\tx\n", "dog\t\n"])
def test_broken_table_names_file_and_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "synonyms.tsv"
    path.write_text("cat\tfeline\n" + text, encoding="utf-8")
    with pytest.raises(DataError, match=r"synonyms.tsv, line 2"):
        read_synonyms(path)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        read_synonyms(tmp_path / "absent.tsv")
