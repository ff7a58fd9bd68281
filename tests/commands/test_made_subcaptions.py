"""Sub-captions made for each epoch, where fewer captions have any than an epoch is to use."""

from __future__ import annotations

import random
from typing import cast

import pytest

from clipdefend.augment.subcaptions import SubCaption, SubCaptioner
from clipdefend.commands.shared.subcaption_source import GeneratedSubcaptions
from clipdefend.errors import DataError
from clipdefend.training.plan import Plan
from memory_pairs import memory_pairs


class Captioner:
    """Finds a sub-caption in captions that end in one of some words."""

    def __init__(self, *ends: str) -> None:
        self.ends = ends

    def parse(self, captions: list[str]) -> list[str]:
        return captions

    def draw(self, caption: str, rng: random.Random) -> list[SubCaption]:
        if not caption.endswith(self.ends):
            return []
        return [SubCaption("a cat", "a dog", "noun", "cat", "dog")]


def made(n_aug: int, *ends: str) -> GeneratedSubcaptions:
    return GeneratedSubcaptions(memory_pairs(10), cast(SubCaptioner, Captioner(*ends)), n_aug, seed=1)


def test_too_few_come_round_again_so_that_every_planned_step_has_rows() -> None:
    source = made(8, "1", "4", "7")
    rows, subcaptions = source.draw(0)
    assert len(rows) == source.per_epoch == 8
    assert sorted(subcaptions) == sorted(set(rows.tolist())) == [1, 4, 7]
    plan = Plan(rows=10, batch=4, seed=1, subset=source.per_epoch, schedule="epoch-end")
    assert all(step for step in plan.epoch(0, rows))


def test_enough_are_drawn_once_each() -> None:
    rows, _ = made(3, *"0123456").draw(0)
    assert len(set(rows.tolist())) == 3


def test_no_sub_caption_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="No caption of 'memory' has a sub-caption"):
        made(3, "nothing").draw(0)
