"""A pattern behind a mask: the general form of a patch, and what trigger inversion finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_number
from clipdefend.attacks.patterns import corners, scale_pixels, uniform


@dataclass(frozen=True, kw_only=True)
class MaskedPattern(Attack):
    """x' = (1 - m) x + m p, with a mask m in [0, 1] that the channels share and a pattern p in [0, 1].

    ``scan`` writes the patches that it finds in this form, with the mask and the pattern it has optimised. By
    default the seed draws a square mask at a random place, the same for every image, and U(0, 1) noise.

    Attributes:
        pixels: side of the drawn square at 224 pixels; it scales with the canvas.
        opacity: value of the drawn mask inside the square, above 0, at most 1.

    Reference:
        Wang et al., Neural Cleanse, IEEE S&P 2019, equation 2; Feng et al., DECREE, CVPR 2023.
    """

    pixels: int = 16
    opacity: float = 1.0

    def __post_init__(self) -> None:
        require_number("pixels", self.pixels, 1, 4096, integer=True)
        require_number("opacity", self.opacity, 1e-6, 1)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``mask`` of shape (1, size, size) and ``pattern`` of shape (3, size, size), in [0, 1]."""
        side = min(scale_pixels(self.pixels, size), size)
        ((row, column),) = corners("random", size, size, side, seed, 0)
        mask = torch.zeros(1, size, size)
        mask[:, row : row + side, column : column + side] = self.opacity
        return {"mask": mask, "pattern": uniform((3, size, size), seed, "masked-pattern")}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        height, width = images.shape[2:]
        mask, pattern = (tensors[name][:, :height, :width] for name in ("mask", "pattern"))
        return images.mul_(1 - mask).add_(mask * pattern)
