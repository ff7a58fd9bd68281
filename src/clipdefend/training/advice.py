"""Configurations that are known not to work, each named in one line with better values."""

from __future__ import annotations

from clipdefend.config import TrainConfig

MIN_STEPS = 100


def advice(train: TrainConfig, *, total: int, pretrained: bool, tiny: bool, attack: bool) -> list[str]:
    """Warnings about a training.

    Args:
        train: its numbers.
        total: optimiser steps.
        pretrained: whether it begins with trained weights.
        tiny: whether the model is the built-in one, which learns at other rates than the field's models.
        attack: whether a backdoor is to be planted.
    """
    found = []
    if train.warmup >= total:
        found.append(
            f"The warm-up of {train.warmup:,} steps is not shorter than the run of {total:,}: the learning rate"
            f" only reaches {train.lr * total / train.warmup:.2g}. Try --warmup {max(total // 10, 1)}."
        )
    if total < MIN_STEPS:
        found.append(
            f"The run has only {total} optimiser steps: try more --epochs or a smaller --batch-size."
        )
    if tiny or not pretrained:
        if train.lr < 5e-5:
            what = "tiny" if tiny else "a model from random weights"
            found.append(f"A learning rate of {train.lr:g} hardly moves {what}: try --lr 5e-4.")
        return found
    if train.lr >= 1e-4:
        found.append(
            f"A learning rate of {train.lr:g} is known to destroy pretrained CLIP models (CleanCLIP's issue 12):"
            " try --lr 1e-5."
        )
    elif attack and train.lr <= 1e-6:
        found.append(
            f"A learning rate of {train.lr:g} is known to plant no backdoor (ASR 5.7 %, CleanCLIP's issue 3):"
            " try --lr 1e-5, which reached 97.7 %."
        )
    return found
