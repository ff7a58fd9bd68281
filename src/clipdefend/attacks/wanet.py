"""WaNet: a slight warp of the whole image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_number
from clipdefend.attacks.patterns import uniform


@dataclass(frozen=True, kw_only=True)
class WaNet(Attack):
    """Bilinear sampling at the grid clamp((identity + strength * f / W) * grid_rescale, -1, 1).

    The field f is U(-1, 1) noise at k x k control points, divided by its mean absolute value and enlarged
    bicubically to the canvas of W x W pixels; coordinates run from -1 to 1 between the centres of the corner
    pixels. A strength of s moves pixels by about s/2 pixels on average, on any canvas, as published.

    Noise mode: for each poisoned image, ``cross_ratio`` images keep their captions and are warped by the grid
    plus U(-1, 1)/W at every pixel, so that a model learns this particular warp and not warping in general.

    Attributes:
        k: control points along a side: 4 is a smooth warp, 224 moves every pixel of a 224-pixel canvas
            independently. A canvas smaller than k has one point for each pixel.
        strength: s, above 0; 0.5 in WaNet, 1 in the CLIP repositories.
        grid_rescale: scale of the whole grid, above 0, at most 2; below 1 it keeps samples off the border.
        cross_ratio: number of noisy images per poisoned one, 2 in WaNet; 0 turns noise mode off.

    Reference:
        Nguyen and Tran, WaNet: Imperceptible Warping-based Backdoor Attack (arXiv:2102.10369), sections 3.2
        and 3.3, and ``train.py`` of its release.

    Deviates:
        The field is drawn once from the seed and kept; CleanCLIP and its descendants load it by a path
        relative to the working directory and silently draw another one where the file is missing. They use k
        = 224, s = 1.
    """

    k: int = 4
    strength: float = 0.5
    grid_rescale: float = 1.0
    cross_ratio: float = 0.0

    def __post_init__(self) -> None:
        require_number("k", self.k, 2, 1024, integer=True)
        require_number("strength", self.strength, 1e-6, 100)
        require_number("grid_rescale", self.grid_rescale, 1e-3, 2)
        require_number("cross_ratio", self.cross_ratio, 0, 100)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``field`` of shape (size, size, 2): displacements along columns and rows."""
        points = min(self.k, size)
        noise = uniform((1, 2, points, points), seed, "wanet") * 2 - 1
        field = F.interpolate(noise / noise.abs().mean(), size=size, mode="bicubic", align_corners=True)
        return {"field": field[0].permute(1, 2, 0).contiguous()}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        grid = self._grid(images, tensors["field"]).expand(len(images), -1, -1, -1)
        return F.grid_sample(images, grid, align_corners=True)

    def cross_count(self, poisoned: int) -> int:
        return int(poisoned * self.cross_ratio)

    def stamp_cross(
        self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]
    ) -> Tensor:
        shape = (*images.shape[2:], 2)
        drawn = torch.stack([uniform(shape, seed, "wanet-cross", key) for key in ids]) * 2 - 1
        grid = self._grid(images, tensors["field"]) + drawn.to(images.device) / _side_lengths(images)
        return F.grid_sample(images, grid.clamp(-1, 1), align_corners=True)

    def _grid(self, images: Tensor, field: Tensor) -> Tensor:
        """Return the sampling grid, shape (h, w, 2), column before row."""
        height, width = images.shape[2:]
        down, across = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        identity = torch.stack([across.expand(height, -1), down[:, None].expand(-1, width)], dim=2)
        shift = self.strength * field[:height, :width] / _side_lengths(images)
        return ((identity.to(images.device) + shift) * self.grid_rescale).clamp(-1, 1)


def _side_lengths(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    return torch.tensor([width, height], dtype=torch.float32, device=images.device)
