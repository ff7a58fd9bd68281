"""Pairs without some of their rows."""

from __future__ import annotations

import pickle

import numpy as np

from clipdefend.data.remaining_pairs import RemainingPairs
from memory_pairs import memory_pairs


def test_rows_that_are_left_close_up() -> None:
    pairs = memory_pairs(8)
    subset = RemainingPairs(pairs, np.array([7, 0, 3, 4, 3]))
    left = [1, 2, 5, 6]
    assert len(subset) == 4
    assert [subset.image_ref(row) for row in range(4)] == [pairs.image_ref(row) for row in left]
    assert subset.captions() == [pairs.caption(row) for row in left]
    assert subset.image(2).tobytes() == pairs.image(5).tobytes()


def test_the_rest_is_what_was_left_out() -> None:
    subset = RemainingPairs(memory_pairs(8), np.array([7, 0, 3]))
    rest = subset.rest()
    assert [rest.image_ref(row) for row in range(len(rest))] == [f"memory/{row}.jpg" for row in (0, 3, 7)]


def test_the_fingerprint_says_which_rows_are_missing() -> None:
    pairs = memory_pairs(8)
    prints = [
        RemainingPairs(pairs, np.array(rows, dtype=np.int64)).fingerprint for rows in ([], [1], [2], [2, 2])
    ]
    assert prints[0] == pairs.fingerprint
    assert len(set(prints)) == 3
    assert prints[2] == prints[3]


def test_it_can_be_sent_to_a_worker() -> None:
    subset = RemainingPairs(memory_pairs(8), np.array([2]))
    again = pickle.loads(pickle.dumps(subset))
    assert again.captions() == subset.captions()
