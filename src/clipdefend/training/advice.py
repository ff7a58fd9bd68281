"""Configurations that are known not to work, each named in one line with better values."""

from __future__ import annotations

from torch import nn

from clipdefend.config import TrainConfig

MIN_STEPS = 100
# Beside the token embedding. RN50's towers have 76 million, the built-in tiny 1.2: they learn at other rates.
SMALL = 20_000_000


def is_small(model: nn.Module) -> bool:
    """Whether the towers are far smaller than those that the field's learning rates were found with."""
    counted = (p.numel() for name, p in model.named_parameters() if "token_embedding" not in name)
    return sum(counted) < SMALL


def advice(train: TrainConfig, *, total: int, pretrained: bool, small: bool, attack: bool) -> list[str]:
    """Warnings about a training.

    Args:
        train: its numbers.
        total: optimiser steps.
        pretrained: whether it begins with trained weights.
        small: see ``is_small``.
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
    if small or not pretrained:
        if train.lr < 5e-5:
            what = "a model this small" if small else "a model from random weights"
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
