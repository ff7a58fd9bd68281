"""The one reader of images: order, canvases, unusable rows, worker processes."""

from __future__ import annotations

from functools import partial
from operator import itemgetter

import numpy as np
import pytest
import torch
from PIL import Image

from clipdefend.canvas import Canvas
from clipdefend.data.bad import BadRows
from clipdefend.data.image_reader import read_batches, read_canvases
from clipdefend.errors import DataError
from memory_pairs import memory_pairs

CANVAS = Canvas(16)


def test_canvases_come_in_order_without_the_unusable_ones() -> None:
    pairs = memory_pairs(10, bad={2, 7})
    bad = BadRows(0.2)
    found = list(read_canvases(pairs, np.array([7, 5, 2, 1]), CANVAS, bad))
    assert [row for row, _ in found] == [5, 1]
    assert bad.rows == {2, 7}
    for row, pixels in found:
        assert pixels.dtype == torch.uint8
        assert torch.equal(pixels, CANVAS(pairs.image(row)))


def test_reading_stops_at_the_row_that_exceeds_the_limit() -> None:
    reading = read_canvases(memory_pairs(10, bad={3, 4}), range(10), CANVAS, BadRows(0.1))
    assert [next(reading)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="2 of 10 rows cannot be used"):
        next(reading)


def test_rows_are_read_when_they_are_asked_for_and_not_before() -> None:
    pairs = memory_pairs(10)
    reading = read_canvases(pairs, iter(range(10)), CANVAS)
    next(reading)
    assert set(pairs.asked) == {0}


def test_unusable_rows_that_somebody_else_counts_are_passed_over() -> None:
    assert [row for row, _ in read_canvases(memory_pairs(4, bad={0, 1, 2}), range(4), CANVAS)] == [3]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_their_order_and_lose_the_unusable_rows(workers: int) -> None:
    pairs = memory_pairs(12, bad={4, 10, 11})
    bad = BadRows(0.0)  # the caller checks the limit
    batches = iter([[5, 4, 3], [10, 11], [0]])
    found = list(read_batches(pairs, batches, CANVAS, bad=bad, workers=workers))
    assert [batch.keys for batch in found] == [[5, 3], [], [0]]
    assert torch.equal(found[0].values, torch.stack([CANVAS(pairs.image(row)) for row in (5, 3)]))
    assert found[1].values is None
    assert bad.rows == {4, 10, 11}


def stretched(factor: int, picture: Image.Image, key: tuple[int, str]) -> str:
    return f"{key[1]} {picture.size[0] * factor}"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_view_makes_what_it_likes_of_picture_and_key(workers: int) -> None:
    keys = [[(1, "first"), (2, "bad")], [(1, "again")]]
    bad = BadRows(1.0)
    found = read_batches(
        memory_pairs(4, bad={2}),
        keys,
        CANVAS,
        bad=bad,
        workers=workers,
        row_of=itemgetter(0),
        view=partial(stretched, 2),
        collate=list,
    )
    assert [batch.values for batch in found] == [["first 32"], ["again 32"]]
    assert bad.rows == {2}
