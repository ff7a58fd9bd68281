"""Equal seeds give equal sub-captions; replacements are never synonyms, in either direction."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipdefend.augment.inflect import stems
from clipdefend.augment.parsed_caption import ParsedCaption
from clipdefend.augment.subcaptions import JOINT, SubCaption, SubCaptioner
from clipdefend.augment.synonyms import shipped_synonyms
from clipdefend.draws import text_random
from real_captions import REAL
from subcaption_check import is_consistent

CAPTIONER = SubCaptioner(relations=2, counterfactuals=2)
SOUNDED = {"an hourglass", "a unicorn"}


@pytest.fixture(scope="module")
def parsed() -> list[ParsedCaption]:
    return list(CAPTIONER.parse(REAL))


def drawn(parsed: ParsedCaption, seed: int, row: int) -> list[SubCaption]:
    return CAPTIONER.draw(parsed, text_random(seed, "subcaptions", 0, row))


@settings(max_examples=12, deadline=None)
@given(
    rows=st.lists(st.sampled_from(range(len(REAL))), min_size=1, max_size=12, unique=True),
    batch=st.integers(1, 16),
    seed=st.integers(0, 2**62),
)
def test_equal_seeds_whatever_batch_and_order_and_company(rows: list[int], batch: int, seed: int) -> None:
    """The captions that share a batch, their order and their number leave each one's sub-captions alone."""
    together = dict(zip(rows, CAPTIONER.parse([REAL[row] for row in rows], batch_size=batch), strict=True))
    alone = {row: next(CAPTIONER.parse([REAL[row]])) for row in rows[:3]}
    backwards = {row: drawn(together[row], seed, row) for row in reversed(rows)}
    for row, entry in alone.items():
        assert entry == together[row]
        assert drawn(entry, seed, row) == backwards[row]


@pytest.mark.slow
def test_equal_sub_captions_from_several_processes(parsed: list[ParsedCaption]) -> None:
    for processes in (2, 3):
        assert list(CAPTIONER.parse(REAL, batch_size=7, processes=processes)) == parsed


def test_every_caption_has_sub_captions_and_most_a_relation(parsed: list[ParsedCaption]) -> None:
    assert all(drawn(entry, 1, row) for row, entry in enumerate(parsed))
    assert sum(bool(entry.triples) for entry in parsed) >= 0.85 * len(parsed)


def test_counterfactuals_differ_and_say_something_else(parsed: list[ParsedCaption]) -> None:
    """Neither the word, nor an inflection, nor a synonym of it, looked up from both sides."""
    table = shipped_synonyms()
    seen = 0
    for row, entry in enumerate(parsed):
        for seed in range(25):
            for sub in drawn(entry, seed, row):
                assert is_consistent(sub), sub
                for old, new in zip(sub.replaced.split(JOINT), sub.replacement.split(JOINT), strict=True):
                    seen += 1
                    olds, news = {old, *stems(old)}, {new, *stems(new)}
                    assert not olds & news, sub
                    assert not any(set(table.listed(word)) & news for word in olds), sub
                    assert not any(set(table.listed(word)) & olds for word in news), sub
    assert seen > 1500


def test_phrases_find_their_synonyms_among_single_words() -> None:
    assert "frank" in shipped_synonyms().of_phrase("hot dog")
    assert shipped_synonyms().of_phrase("no such thing") == []


def test_no_word_stands_twice_in_a_row(parsed: list[ParsedCaption]) -> None:
    for row, entry in enumerate(parsed):
        for sub in drawn(entry, 3, row):
            for text in (sub.factual, sub.counterfactual):
                assert all(first != second for first, second in pairwise(text.split())), text
