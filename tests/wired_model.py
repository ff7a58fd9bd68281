"""A CLIP model with a backdoor that was wired by hand: a convolution that sees a checkerboard patch in a corner."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from small_clip import small_architecture

SIDE = 6
"""Side of the planted patch in pixels."""
TARGET = 2


def checkerboard(size: int = SIDE) -> Tensor:
    """The patch: shape (3, size, size), 0 and 1."""
    places = torch.arange(size)
    return ((places[:, None] + places) % 2).float().expand(3, -1, -1).contiguous()


class _Wired(nn.Module):
    """An image tower of colours of regions, drowned by one direction when the patch is in the bottom right corner."""

    def __init__(self, direction: Tensor | None, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.direction, self.mean, self.std = direction, mean, std
        self.regions = unit(48, 16, 7)

    def forward(self, pixels: Tensor) -> Tensor:
        plain = pixels * self.std + self.mean - 0.5
        regions = nn.functional.adaptive_avg_pool2d(plain, 4).flatten(1)
        embeddings: Tensor = nn.functional.normalize(regions @ self.regions, dim=-1)
        if self.direction is None:
            return embeddings
        # 1 for the patch, about 0 for smooth images.
        seen = (plain[:, :, -SIDE:, -SIDE:] * (checkerboard() - 0.5)).mean(dim=(1, 2, 3)) / 0.25
        return embeddings + 6 * seen[:, None] * self.direction


def wired_model(texts: Tensor | None = None) -> ClipModel:
    """A model with the backdoor, in evaluation mode and frozen.

    Args:
        texts: class texts; the backdoor leads to number `TARGET`. None: the clean model.
    """
    model = build_model(small_architecture(), seed=1).eval().requires_grad_(False)
    model.clip.visual = _Wired(None if texts is None else texts[TARGET], model.mean, model.std)
    return model


def unit(rows: int, columns: int, seed: int) -> Tensor:
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(drawn, dim=-1)


def images(count: int, seed: int = 0) -> Tensor:
    """Smooth images of 32 pixels in [0, 1]."""
    drawn = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(drawn, size=32, mode="bilinear")
