"""Rows to learn a trigger from: choice, order, augmentation, and bad rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from clipdefend.attacks.ssba import SSBA
from clipdefend.errors import DataError
from clipdefend.learning import LEARNERS
from clipdefend.learning.example_batches import (
    ImageRequest,
    count_steps,
    embed_images,
    in_batches,
    in_epochs,
    read_images,
)
from clipdefend.models.clip import ClipModel
from learning_tasks import make_task
from memory_pairs import memory_pairs

NONE = np.empty(0, dtype=np.int64)


def test_every_learned_attack_has_a_learner_and_no_other() -> None:
    from clipdefend.attacks import ATTACKS

    assert {name for name in ATTACKS.names() if ATTACKS.build(name).learned} == set(LEARNERS)


def test_rows_to_learn_from_and_to_measure_on_are_apart() -> None:
    task = make_task(SSBA(), pairs=memory_pairs(100))
    rows, held_out = task.rows(30, np.array([5, 6]))
    assert (len(rows), len(held_out)) == (30, 19)  # a fifth of 98
    assert not set(rows.tolist()) & set(held_out.tolist())
    assert not {5, 6} & {*rows.tolist(), *held_out.tolist()}
    assert len(task.rows(1000, NONE)[0]) == 80


def test_one_pair_is_not_enough() -> None:
    with pytest.raises(DataError, match="cannot be learned from 1 pairs"):
        make_task(SSBA(), pairs=memory_pairs(1)).rows(1, NONE)


def test_every_row_comes_once_an_epoch_in_another_order() -> None:
    rows = np.arange(10, 22)
    batches = list(in_epochs(rows, 5, 3, seed=0))
    assert [len(batch) for batch in batches] == [5, 5, 2] * 3
    assert len(batches) == count_steps(12, 5, 3)
    seen = Counter((item.epoch, item.row) for batch in batches for item in batch)
    assert seen == Counter({(epoch, row): 1 for epoch in range(3) for row in range(10, 22)})
    orders = [[item.row for batch in batches[n : n + 3] for item in batch] for n in (0, 3, 6)]
    assert orders[0] != orders[1] != orders[2]


def test_a_last_batch_of_one_is_left_out() -> None:
    assert [len(batch) for batch in in_epochs(np.arange(11), 5, 1, seed=0)] == [5, 5]
    assert count_steps(11, 5, 1) == 2
    assert [len(batch) for batch in in_epochs(np.arange(1), 5, 2, seed=0)] == [1, 1]
    assert count_steps(1, 5, 2) == 2


def test_a_share_of_the_images_is_augmented_by_a_seed_of_its_own() -> None:
    items = [item for batch in in_epochs(np.arange(400), 50, 2, seed=0, augmented=0.25) for item in batch]
    seeds = [item.seed for item in items if item.seed is not None]
    assert 150 < len(seeds) < 250
    assert len(set(seeds)) == len(seeds)
    task = make_task(SSBA())
    ((_, images),) = read_images(task, [[ImageRequest(3), ImageRequest(3, 0, 7)]])
    assert torch.equal(images[1], images[0].flip(2))
    assert not torch.equal(images[1], images[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_without_bad_rows(workers: int) -> None:
    task = make_task(SSBA(), pairs=memory_pairs(40, bad={4, 10, 11}), workers=workers)
    plan = [
        [ImageRequest(3), ImageRequest(4), ImageRequest(5)],
        [ImageRequest(10), ImageRequest(11)],
        [ImageRequest(12)],
    ]
    read_rows = [
        ([item.row for item in items], tuple(images.shape)) for items, images in read_images(task, plan)
    ]
    assert read_rows == [([3, 5], (2, 3, 32, 32)), ([12], (1, 3, 32, 32))]
    assert task.bad.rows == {4, 10, 11}


def test_too_many_bad_rows_are_an_error() -> None:
    task = make_task(SSBA(), pairs=memory_pairs(4, bad={0, 1, 2}))
    with pytest.raises(DataError, match="3 of 4 rows cannot be used"):
        list(read_images(task, in_batches(np.arange(4))))


def test_embeddings_are_those_of_the_usable_rows(small_model: ClipModel) -> None:
    task = make_task(SSBA(), pairs=memory_pairs(10, bad={2}))
    rows, vectors = embed_images(task, small_model, np.array([5, 2, 1]))
    assert rows == [5, 1]
    with torch.no_grad():
        alone = small_model.encode_image(task.canvas(task.pairs.image(1))[None])
    assert torch.allclose(vectors[1], alone[0], atol=1e-5)
    with pytest.raises(DataError, match="None of 1 images can be used"):
        embed_images(task, small_model, np.array([2]))
