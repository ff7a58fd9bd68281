"""Warnings about configurations that are known not to work, each with a better value."""

from __future__ import annotations

from typing import Any

import pytest

from clipdefend.config import TrainConfig
from clipdefend.models.builder import build_model
from clipdefend.training.advice import SMALL, advice, is_small
from small_clip import small_architecture


def found(*, total: int = 5000, **changes: Any) -> list[str]:
    facts = {"pretrained": True, "small": False, "attack": True}
    given = {key: changes.pop(key) for key in tuple(changes) if key in facts}
    return advice(TrainConfig(**{"warmup": 50, **changes}), total=total, **{**facts, **given})


def test_the_papers_numbers_need_no_advice() -> None:
    assert found(lr=1e-5, warmup=10_000, total=19_530) == []
    assert found(lr=4.5e-6, warmup=10_000, total=78_120, attack=False) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"warmup": 5000}, ["warm-up of 5,000 steps is not shorter than the run of 5,000", "--warmup 500."]),
        ({"warmup": 10_000, "lr": 1e-5}, ["only reaches 5e-06"]),
        ({"total": 99}, ["only 99 optimiser steps", "--epochs"]),
        ({"lr": 1e-4}, ["known to destroy pretrained CLIP models", "--lr 1e-5"]),
        ({"lr": 1e-6}, ["plant no backdoor", "--lr 1e-5"]),
        ({"lr": 1e-5, "small": True}, ["hardly moves", "--lr 5e-4"]),
        ({"lr": 1e-5, "pretrained": False}, ["hardly moves", "--lr 5e-4"]),
    ],
)
def test_each_warning_is_one_line_with_a_better_value(changes: dict[str, Any], expected: list[str]) -> None:
    lines = found(**changes)
    assert len(lines) == 1
    assert "\n" not in lines[0]
    for part in expected:
        assert part in lines[0]


def test_a_low_rate_is_no_fault_of_a_defence() -> None:
    assert found(lr=1e-6, attack=False) == []


def test_no_warm_up_and_no_steps_do_not_divide_by_zero() -> None:
    assert len(found(warmup=0, total=1)) == 1


def test_small_models_are_told_by_their_towers() -> None:
    assert is_small(build_model(small_architecture(text={"vocab_size": 49408})))
    large = build_model(
        small_architecture(vision={"image_size": 32, "layers": 2, "width": 1024, "patch_size": 16})
    )
    assert sum(p.numel() for p in large.parameters()) > SMALL
    assert not is_small(large)
