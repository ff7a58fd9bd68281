"""Warns of configurations that are known to fail and of sharp drops in accuracy, with advice on what to change."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from clipdefend.config import TrainConfig
from clipdefend.console import Console
from clipdefend.evaluation.zero_shot import epoch_metrics
from clipdefend.training.schedule import fit_warmup

MIN_STEPS = 100
# A pretrained EfficientNet went from 41 to 19 % of accuracy by fine-tuning in batches of 32 with their statistics.
MIN_NORM_BATCH = 64
SHARP_DROP = 0.25
"""Relative drop of accuracy in the first epoch that is worth a warning."""
# Beside the token embedding. RN50's towers have 76 million, the built-in tiny 1.2: they learn at other rates.
SMALL = 20_000_000


def is_small(model: nn.Module) -> bool:
    """Whether the towers are far smaller than those for which the published learning rates were tuned."""
    counted = (p.numel() for name, p in model.named_parameters() if "token_embedding" not in name)
    return sum(counted) < SMALL


def trains_batch_norm(model: nn.Module, train: TrainConfig) -> bool:
    """Whether the model has batch norms that take their statistics from the batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return bool(norms) and train.batch_norm == "train" and not train.lock_image


def drop_advice(
    before: float | None, after: float | None, train: TrainConfig, batch_norm: bool
) -> str | None:
    """Return a warning about a sharp drop of accuracy in the first epoch, or None.

    Args:
        before, after: BA@1 before the first step and after the epoch, 0 to 1; None if it was not measured.
        train: the training options.
        batch_norm: see ``trains_batch_norm``.
    """
    if before is None or after is None or after >= (1 - SHARP_DROP) * before:
        return None
    remedies = [f"a lower --lr, such as {train.lr / 5:.1g}"]
    remedies += ["--batch-norm eval"] if batch_norm else []
    return (
        f"BA@1 fell from {100 * before:.1f} to {100 * after:.1f} % in the first epoch: the model is being damaged"
        f" rather than tuned. Try {' or '.join(remedies)}."
    )


def warn_of_drop(
    console: Console,
    start: Mapping[str, float],
    metrics: Mapping[str, float],
    model: nn.Module,
    train: TrainConfig,
) -> None:
    """Warn if the first evaluated epoch lost much of the accuracy, see ``drop_advice``.

    Args:
        console: shows the warning.
        start, metrics: metrics before the first step and after the epoch.
        model: the model in training.
        train: the training options.
    """
    before, after = epoch_metrics(start).get("ba@1"), epoch_metrics(metrics).get("ba@1")
    line = drop_advice(before, after, train, trains_batch_norm(model, train))
    if line is not None:
        console.warn(line)


def advice(
    train: TrainConfig, *, total: int, pretrained: bool, small: bool, attack: bool, batch_norm: bool = False
) -> list[str]:
    """Return warnings about a training run.

    Args:
        train: the training options.
        total: number of optimiser steps.
        pretrained: whether the run starts from trained weights.
        small: see ``is_small``.
        attack: whether the run plants a backdoor.
        batch_norm: see ``trains_batch_norm``.
    """
    found = []
    warmup = fit_warmup(train.warmup, total, train.lr_scheduler)
    if warmup != train.warmup:
        found.append(
            f"The warm-up of {train.warmup:,} steps is not shorter than the run of {total:,}: it is cut to {warmup:,}"
            " steps, a tenth of the run."
        )
    if pretrained and batch_norm and train.batch_size < MIN_NORM_BATCH:
        found.append(
            f"Batch-norm statistics are taken from batches of {train.batch_size} images, which can halve the accuracy"
            " of a pretrained model: try --batch-norm eval."
        )
    if total < MIN_STEPS:
        found.append(
            f"The run has only {total} optimiser steps: try more --epochs or a smaller --batch-size."
        )
    if not pretrained:
        if train.lr < 5e-5:
            found.append(
                f"A learning rate of {train.lr:g} hardly moves a model from random weights: try --lr 5e-4."
            )
        return found
    if small:  # between the published rates, which are of larger models, and those of training from scratch
        if train.lr < 5e-5:
            found.append(f"A learning rate of {train.lr:g} hardly moves a model this small: try --lr 1e-4.")
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
