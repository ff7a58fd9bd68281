"""Triangles: a texture of light and dark right triangles, mixed into the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_number
from clipdefend.attacks.patterns import CANVAS, blend, scale_pixels

DARK, LIGHT = 0.4, 0.8


@dataclass(frozen=True, kw_only=True)
class Triangles(Attack):
    """x' = (1 - alpha) x + alpha n, with tiles n whose lower left half is 0.4 and upper right half 0.8.

    The diagonal belongs to the lower half; all channels are equal.

    Attributes:
        alpha: weight of the texture, 0 to 1.
        tile: side of a tile on a canvas of 224 pixels, 2 to 224.

    Reference:
        Singh, Croce and Hein, Perturb and Recover (arXiv:2412.00727), Blended-Triangles (``tri_patt``),
        ``create_triangle_pattern`` of ``backdoor/utils.py``.
    """

    alpha: float = 0.15
    tile: int = 14

    def __post_init__(self) -> None:
        require_number("alpha", self.alpha, 0, 1)
        require_number("tile", self.tile, 2, CANVAS, integer=True)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``pattern`` of shape (size, size)."""
        within = torch.arange(size) % max(2, scale_pixels(self.tile, size))
        lower = within[:, None] >= within
        return {"pattern": torch.where(lower, torch.tensor(DARK), torch.tensor(LIGHT))}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        return blend(images, tensors["pattern"], self.alpha)
