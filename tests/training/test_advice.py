"""Warnings about configurations that are known not to work, each with a better value."""

from __future__ import annotations

from typing import Any

import pytest

from clipdefend.config import TrainConfig
from clipdefend.models.builder import build_model
from clipdefend.training.advice import SMALL, advice, drop_advice, is_small, trains_batch_norm
from small_clip import small_architecture


def found(*, total: int = 5000, **changes: Any) -> list[str]:
    facts = {"pretrained": True, "small": False, "attack": True, "batch_norm": False}
    given = {key: changes.pop(key) for key in tuple(changes) if key in facts}
    return advice(TrainConfig(**{"warmup": 50, **changes}), total=total, **{**facts, **given})


def test_the_papers_numbers_need_no_advice() -> None:
    assert found(lr=1e-5, warmup=10_000, total=19_530) == []
    assert found(lr=4.5e-6, warmup=10_000, total=78_120, attack=False) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"warmup": 5000},
            ["warm-up of 5,000 steps is not shorter than the run of 5,000", "cut to 500 steps"],
        ),
        ({"batch_size": 32, "batch_norm": True}, ["batches of 32 images", "--batch-norm eval"]),
        ({"total": 99}, ["only 99 optimiser steps", "--epochs"]),
        ({"lr": 1e-4}, ["known to destroy pretrained CLIP models", "--lr 1e-5"]),
        ({"lr": 1e-6}, ["plant no backdoor", "--lr 1e-5"]),
        ({"lr": 1e-5, "small": True}, ["hardly moves a model this small", "--lr 1e-4"]),
        ({"lr": 1e-5, "pretrained": False}, ["hardly moves", "--lr 5e-4"]),
    ],
)
def test_each_warning_is_one_line_with_a_better_value(changes: dict[str, Any], expected: list[str]) -> None:
    lines = found(**changes)
    assert len(lines) == 1
    assert "\n" not in lines[0]
    for part in expected:
        assert part in lines[0]


def test_a_low_rate_is_not_a_fault_of_a_defence() -> None:
    assert found(lr=1e-6, attack=False) == []


def test_no_warm_up_and_no_steps_do_not_divide_by_zero() -> None:
    assert len(found(warmup=0, total=1)) == 1


def test_small_models_are_recognised_by_their_towers() -> None:
    assert is_small(build_model(small_architecture(text={"vocab_size": 49408})))
    large = build_model(
        small_architecture(vision={"image_size": 32, "layers": 2, "width": 1024, "patch_size": 16})
    )
    assert sum(p.numel() for p in large.parameters()) > SMALL
    assert not is_small(large)


def test_batch_norms_of_large_batches_of_new_models_and_of_frozen_statistics_need_no_word() -> None:
    assert found(batch_size=64, batch_norm=True) == []
    assert len(found(lr=5e-4, batch_size=32, batch_norm=True, pretrained=False)) == 0
    resnet = build_model(small_architecture())
    assert trains_batch_norm(resnet, TrainConfig())
    assert not trains_batch_norm(resnet, TrainConfig(batch_norm="eval"))
    assert not trains_batch_norm(resnet, TrainConfig(lock_image=True))
    vit = build_model(small_architecture(vision={"layers": 1, "width": 64, "patch_size": 16}))
    assert not trains_batch_norm(vit, TrainConfig())


def test_no_advice_is_the_value_already_set() -> None:
    for rate in (1e-7, 1e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3):
        for pretrained in (True, False):
            for small in (True, False):
                for line in found(lr=rate, pretrained=pretrained, small=small):
                    advised = float(line.rpartition("--lr ")[2].rstrip(".").split(",")[0])
                    assert advised != rate
                    assert not any(
                        "--lr" in each for each in found(lr=advised, pretrained=pretrained, small=small)
                    )


def test_a_sharp_drop_in_the_first_epoch_is_one_line() -> None:
    line = drop_advice(0.484, 0.252, TrainConfig(lr=2e-4), True)
    assert line is not None
    assert "fell from 48.4 to 25.2 %" in line
    assert "a lower --lr, such as 4e-05 or --batch-norm eval" in line
    assert "--batch-norm" not in str(drop_advice(0.484, 0.252, TrainConfig(lr=2e-4), False))
    for before, after in ((0.8, 0.61), (0.5, 0.9), (None, 0.1), (0.5, None), (0.0, 0.0)):
        assert drop_advice(before, after, TrainConfig(), True) is None
