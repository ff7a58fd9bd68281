"""Whether batch-norm statistics of the batches damage a model, measured on its first batch."""

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
"""Ratio of the losses that is worth a word; where batches are large enough it is about 1."""
KNOWING = 0.75
"""Share of the loss of guessing below which a model knows something of the batch."""
VIEW = "clean"
"""The image and the caption as they are."""


def warn_of_statistics(console: Console, model: ClipModel, batch: Batch, train: TrainConfig) -> None:
    """Warn where the first batch's own statistics, in place of the loaded ones, raise its loss sharply.

    A model from random weights, whose loss is that of guessing, has no statistics worth keeping.

    Args:
        console: for people.
        model: before its first step; it is left as it was.
        batch: of the first step.
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
    """MMCL of a batch with the loaded batch-norm statistics, and with those of the batch itself.

    Args:
        model: left as it was, with its modes and statistics.
        batch: with the plain images and captions.
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
