"""BadCLIP's thirds, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipdefend.attacks.badclip import BadCLIP
from clipdefend.errors import DataError
from clipdefend.learning.selection import choose_thirds, select
from clipdefend.models.clip import ClipModel
from learning_tasks import make_task, surrogate_of
from memory_pairs import memory_pairs

# Cosines with three classes, the target last. Rank of the target, gap to the best class:
SIMILARITY = torch.tensor(
    [
        [0.1, 0.2, 0.9],  # 0: taken for the target: no boundary image
        [0.5, 0.2, 0.4],  # 1: second, gap 0.1
        [0.9, 0.2, 0.3],  # 2: second, gap 0.6
        [0.8, 0.7, 0.6],  # 3: third, gap 0.2
        [0.6, 0.5, 0.1],  # 4: third, gap 0.5: the farthest
        [0.5, 0.1, 0.2],  # 5: second, gap 0.3: the second farthest
        [0.7, 0.6, 0.5],  # 6: third, gap 0.2
    ]
)


def test_thirds_by_hand() -> None:
    chosen = choose_thirds(SIMILARITY, 2, 6, seed=0)
    assert chosen[:2] == [1, 5]  # second rank before third, the smaller gap first
    assert chosen[2:4] == [4, 2]  # 5 would be next, but is taken
    assert set(chosen[4:]) <= {0, 3, 6}
    assert len(set(chosen)) == 6


def test_what_does_not_divide_is_random() -> None:
    chosen = choose_thirds(SIMILARITY, 2, 5, seed=0)
    assert chosen[:2] == [1, 4]
    assert len(set(chosen)) == 5


def test_random_ones_make_up_for_missing_boundary_images() -> None:
    sure = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    assert sorted(choose_thirds(sure, 1, 3, seed=0)) == [0, 1, 2]


def test_the_seed_draws_the_random_third() -> None:
    many = torch.rand(300, 5, generator=torch.Generator().manual_seed(0))
    first, again, other = (choose_thirds(many, 0, 90, seed) for seed in (1, 1, 2))
    assert first == again
    assert first[:60] == other[:60]
    assert first[60:] != other[60:]


def test_chosen_rows_come_first_and_no_row_is_lost(small_model: ClipModel) -> None:
    surrogate = surrogate_of(small_model, ["cat", "dog", "banana"], 2)
    task = make_task(BadCLIP(), pairs=memory_pairs(50, bad={7}), surrogate=surrogate)
    order = np.arange(40)[::-1].copy()
    selected = select(task, order, 9, 20)
    assert sorted(selected.tolist()) == list(range(40))
    assert set(selected[:9].tolist()) <= set(range(20, 40))  # of the pool
    bad = make_task(BadCLIP(), pairs=memory_pairs(50, bad={7, 8}), surrogate=surrogate)
    with pytest.raises(DataError, match="Only 1 usable pairs for 3"):
        select(bad, np.array([7, 8, 9]), 3, 3)
