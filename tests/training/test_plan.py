"""Which samples each step sees: every row once an epoch, the same batches for any number of processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipdefend.draws import permutation
from clipdefend.errors import ConfigError, DataError
from clipdefend.training.plan import Plan, PlannedRow

NONE = np.empty(0, dtype=np.int64)


def steps(plan: Plan, epoch: int = 0, chosen: np.ndarray = NONE, start: int = 0) -> list[list[PlannedRow]]:
    return list(plan.epoch(epoch, chosen, start))


def rows(items: list[PlannedRow], *, subset: bool = False) -> list[int]:
    return [item.row for item in items if item.subset is subset]


def test_every_row_once_an_epoch_in_another_order_each_epoch() -> None:
    plan = Plan(rows=103, batch=10, seed=4)
    epochs = [steps(plan, epoch) for epoch in range(3)]
    for made in epochs:
        assert [len(items) for items in made] == [10] * 10 + [3]
        assert sorted(row for items in made for row in rows(items)) == list(range(103))
    assert epochs[0] == steps(plan, 0)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != steps(Plan(rows=103, batch=10, seed=5))


@pytest.mark.parametrize(("size", "expected"), [(20, 2), (21, 2), (22, 3), (10, 1), (2, 1)])
def test_a_last_batch_of_one_pair_is_left_out(size: int, expected: int) -> None:
    plan = Plan(rows=size, batch=10, seed=0)
    assert plan.steps == plan.main_steps == len(steps(plan)) == expected


@pytest.mark.parametrize(("size", "world"), [(0, 1), (1, 1), (3, 2)])
def test_too_few_pairs_for_a_step_are_an_error(size: int, world: int) -> None:
    with pytest.raises(
        DataError, match=f"{size} pairs are too few for a step.*at least {2 * world} are needed"
    ):
        Plan(rows=size, batch=10, seed=0, world=world)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(8, 200),
    share=st.integers(1, 16),
    world=st.integers(2, 4),
    subset=st.integers(0, 60),
    schedule=st.sampled_from(["interleave", "epoch-end", "in-batch"]),
    epoch=st.integers(0, 3),
)
def test_processes_together_see_the_batches_of_one(
    size: int, share: int, world: int, subset: int, schedule: str, epoch: int
) -> None:
    subset = min(subset, size)
    options: dict[str, Any] = {
        "rows": size,
        "batch": share * world,
        "seed": 7,
        "subset": subset,
        "schedule": schedule,
    }
    chosen = np.random.default_rng(epoch).permutation(size)[:subset]
    single = Plan(**options)
    plans = [Plan(**options, rank=rank, world=world) for rank in range(world)]
    alone, ranks = steps(single, epoch, chosen), [steps(plan, epoch, chosen) for plan in plans]
    # A last batch too small to be shared is left out, so that those behind it may stand elsewhere.
    like = (single.main_steps, single.subset_batches) == (plans[0].main_steps, plans[0].subset_batches)
    assert len({len(made) for made in ranks}) == 1
    for place in range(len(ranks[0])):
        for side in (False, True):
            shares = [rows(made[place], subset=side) for made in ranks]
            assert len({len(each) for each in shares}) == 1  # what is gathered has one size
            if like:
                together = [row for group in zip(*shares, strict=True) for row in group]
                whole = rows(alone[place], subset=side)
                assert together == whole[: len(whole) // world * world]


@pytest.mark.parametrize("schedule", ["interleave", "epoch-end", "in-batch"])
def test_a_resumed_epoch_goes_on_where_it_stopped(schedule: Any) -> None:
    plan = Plan(rows=95, batch=10, seed=1, subset=25, schedule=schedule)
    chosen = np.arange(40, 65)
    whole = steps(plan, 2, chosen)
    assert len(whole) == plan.steps
    for start in (1, 5, plan.steps - 1, plan.steps):
        assert steps(plan, 2, chosen, start) == whole[start:]


def test_sub_caption_batches_are_spread_evenly_over_the_steps() -> None:
    plan = Plan(rows=100, batch=10, seed=1, subset=25)
    chosen = np.arange(60, 85)
    made = steps(plan, 0, chosen)
    assert plan.steps == 10
    assert plan.subset_batches == 3
    carrying = [place for place, items in enumerate(made) if rows(items, subset=True)]
    assert carrying == [1, 5, 8]  # the middles of thirds: 10/6, 30/6, 50/6
    assert [row for items in made for row in rows(items, subset=True)] == chosen.tolist()
    assert [len(rows(items)) for items in made] == [10] * 10


def test_more_sub_caption_batches_than_steps_share_steps() -> None:
    plan = Plan(rows=20, batch=10, seed=1, subset=50)
    made = steps(plan, 0, np.arange(50) % 20)
    assert [len(rows(items, subset=True)) for items in made] == [20, 30]


def test_epoch_end_puts_them_in_steps_of_their_own() -> None:
    plan = Plan(rows=100, batch=10, seed=1, subset=25, schedule="epoch-end")
    made = steps(plan, 0, np.arange(25))
    assert plan.steps == 13
    assert [len(items) for items in made] == [10] * 12 + [5]
    assert all(not rows(items, subset=True) for items in made[:10])
    assert [rows(items, subset=True) for items in made[10:]] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]


def test_in_batch_takes_the_chosen_rows_of_each_batch() -> None:
    plan = Plan(rows=100, batch=10, seed=1, subset=25, schedule="in-batch")
    chosen = np.arange(0, 100, 4)
    made = steps(plan, 0, chosen)
    assert plan.steps == 10
    for items in made:
        assert rows(items, subset=True) == [row for row in rows(items) if row % 4 == 0]
    assert sorted(row for items in made for row in rows(items, subset=True)) == chosen.tolist()


def test_fewer_sub_captions_than_planned_leave_steps_without_them() -> None:
    plan = Plan(rows=100, batch=10, seed=1, subset=30)
    made = steps(plan, 0, np.arange(7))
    assert len(made) == 10
    assert [row for items in made for row in rows(items, subset=True)] == list(range(7))


@pytest.mark.parametrize(("subset", "steps"), [(21, 2), (22, 3), (23, 3)])
def test_a_step_of_sub_captions_alone_has_two_rows_a_process(subset: int, steps: int) -> None:
    """Which a batch norm needs; beside a main batch one row is enough."""
    for world in (1, 2):
        common: dict[str, Any] = {
            "rows": 100,
            "batch": 10 * world,
            "seed": 1,
            "subset": subset * world,
            "world": world,
        }
        assert Plan(**common, schedule="epoch-end").subset_batches == steps
        assert Plan(**common, schedule="interleave").subset_batches == 3


def test_a_pair_left_out_stays_out_of_the_steps_of_sub_captions() -> None:
    """101 pairs in tens leave one over, which a batch norm could not take in a step by itself."""
    plan = Plan(rows=101, batch=10, seed=1, subset=20, schedule="epoch-end")
    made = steps(plan, 0, np.arange(20))
    assert [len(rows(items)) for items in made] == [10] * 10 + [0, 0]


def test_the_order_is_the_recorded_permutation_from_the_first_step_on() -> None:
    plan = Plan(rows=20, batch=10, seed=3)
    assert plan.subset_batches == 0
    order = [row for items in plan.epoch(2, NONE) for row in rows(items)]
    assert order == permutation(20, 3, "order", 2).tolist()


def test_a_global_batch_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"global batch of one pair .* --batch-size 2 or more"):
        Plan(rows=20, batch=1, seed=0)
    assert Plan(rows=20, batch=2, seed=0).steps == 10


def test_only_its_own_rows_are_planned() -> None:
    only = np.array([2, 3, 5, 7, 11, 13])
    plan = Plan(rows=6, batch=3, seed=1, only=only)
    made = [row for items in steps(plan) for row in rows(items)]
    assert made == only[permutation(6, 1, "order", 0)].tolist()
    assert sorted(made) == only.tolist()
