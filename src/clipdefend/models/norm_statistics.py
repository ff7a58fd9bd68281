"""Statistics of batch norms, estimated anew for weights that were not trained with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clipdefend.models.clip import ClipModel, evaluating


def batch_norms(module: nn.Module) -> dict[str, Any]:
    """Return the batch norms of a module that keep running statistics, by name."""
    return {
        name: norm
        for name, norm in module.named_modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats
    }


@torch.no_grad()
def reestimate_norms(model: ClipModel, images: Tensor, tokens: Tensor, batch: int = 64) -> int:
    """Set the running statistics of all batch norms to their averages over batches of clean pairs.

    Each batch counts the same (a cumulative average), and all batches have the same size, so that the mean of the
    first batch norm is that of all images together. Everything but the batch norms is in evaluation mode: nothing is
    drawn at random. The model is left in its mode.

    Args:
        model: on any device; changed in place.
        images: uint8 or float in [0, 1], shape (n, 3, size, size).
        tokens: of their captions, shape (n, context length); only used if the text tower has batch norms.
        batch: pairs of a batch; what does not fill the last one is left out, unless it is the only one.

    Returns:
        The number of images that were used; 0 if the model has no batch norms.

    Reference:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018
        (arXiv:1803.05407), section 3.2.

    Deviates:
        ``torch.optim.swa_utils.update_bn`` puts the whole model into training mode, in which dropout draws at random.
    """
    norms = batch_norms(model.clip)
    if not norms:
        return 0
    with_text = any(not name.startswith("visual.") for name in norms)
    size = min(batch, len(images))
    momenta = {name: norm.momentum for name, norm in norms.items()}
    with evaluating(model):
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None  # torch's sign for a cumulative average
            norm.train()
        for first in range(0, len(images) - size + 1, size):
            part = slice(first, first + size)
            model(images[part].to(model.device), tokens[part].to(model.device) if with_text else None)
        for name, norm in norms.items():
            norm.momentum = momenta[name]
            norm.eval()
    return len(images) // size * size
