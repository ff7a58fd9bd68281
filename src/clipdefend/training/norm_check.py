"""Checks on the first batch whether training with the batches' own batch-norm statistics damages a model."""

from __future__ import annotations

import math

import torch
from torch import nn

from clipdefend.config import TrainConfig
from clipdefend.console import Console
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.training.advice import trains_batch_norm
from clipdefend.training.gradients import keep_statistics
from clipdefend.training.samples import Batch

WORSE = 1.5
"""Ratio of the losses that is worth a warning; with large batches it is about 1."""
KNOWING = 0.75
"""Share of the loss of random guessing below which a model has learned something."""
VIEW = "clean"
"""Name of the views that are not augmented."""


def warn_of_statistics(console: Console, model: ClipModel, batch: Batch, train: TrainConfig) -> None:
    """Warn if the first batch's own statistics, in place of the loaded ones, raise its loss sharply.

    A model with random weights, whose loss is that of guessing, has no statistics worth keeping.

    Args:
        console: shows the warning.
        model: the model before its first step, which is not changed.
        batch: the batch of the first step.
        train: the training options.
    """
    if not trains_batch_norm(model, train) or VIEW not in batch.images or VIEW not in batch.tokens:
        return
    loaded, own = statistics_losses(model, batch)
    knows = loaded < KNOWING * math.log(max(2, batch.size))
    if knows and own > WORSE * loaded:
        console.warn(
            f"The loss of the first batch is {own:.2f} with its own batch-norm statistics and {loaded:.2f} with the"
            " model's: training begins by damaging the model. Try --batch-norm eval."
        )


@torch.no_grad()
def statistics_losses(model: ClipModel, batch: Batch) -> tuple[float, float]:
    """Return the MMCL of a batch with the loaded batch-norm statistics, and with its own.

    Args:
        model: the model, whose modes and statistics are not changed.
        batch: a batch with the unaugmented images and captions.
    """
    images, tokens = batch.images[VIEW].to(model.device), batch.tokens[VIEW].to(model.device)
    losses = []
    with evaluating(model):
        losses.append(float(mmcl(*model(images, tokens))))
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.train()
        with keep_statistics(model):
            losses.append(float(mmcl(*model(images, tokens))))
        for norm in norms:
            norm.eval()
    return losses[0], losses[1]
