"""BadNet: a small square patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from clipdefend.attacks.attack import LEVELS, Attack, require_choice, require_number, require_picture
from clipdefend.attacks.patterns import (
    CANVAS,
    PLACES,
    SAMPLINGS,
    Place,
    Sampling,
    load_picture,
    normal,
    paste,
    scale_pixels,
)

Pattern = Literal["gaussian", "checkerboard", "yellow", "image"]
Overflow = Literal["clip", "wrap"]


@dataclass(frozen=True, kw_only=True)
class BadNet(Attack):
    """A square patch that overwrites the image.

    Patterns, for a patch p of shape (3, side, side):
        gaussian, sampling per-image: p = mean of the image's channel + n, n ~ N(0, 1) drawn for each image.
        gaussian, sampling fixed: p = 0.5 + n, n drawn once.
        checkerboard: white at every second row and column, black elsewhere.
        yellow: red and green 1, blue 0.
        image: a file, resized to the patch.

    Attributes:
        pattern: what the patch shows.
        place: where it is; ``random`` is drawn for each image.
        pixels: side of the patch on a canvas of 224 pixels, 1 to 224.
        sampling: ``fixed`` draws one Gaussian patch from the seed, ``per-image`` one for each image from the
            seed and the image's id.
        overflow: treatment of Gaussian values outside [0, 1]: ``clip``, or ``wrap`` (to 8 bits, modulo 256).
        image: path of the image file of pattern ``image``.

    Reference:
        Gu et al., BadNets (arXiv:1708.06733). Gaussian, yellow, four corners and random places: Bansal et
        al., CleanCLIP (arXiv:2303.03323), ``backdoor/utils.py``. Checkerboard: Huang et al., Detecting
        Backdoor Samples in Contrastive Language Image Pretraining (arXiv:2502.01385),
        ``datasets/cc3m_badnets.py``.

    Deviates:
        One fixed clipped patch in a fixed corner is the default; CleanCLIP's patch is new for each image, in
        training and in evaluation, at a random place, and its values outside [0, 1] wrap around when they
        become 8-bit: ``sampling=per-image, place=random, overflow=wrap``. Its random place never is the last
        row or column at which the patch fits (an off-by-one); here all places at which it fits are equally
        likely.
    """

    pattern: Pattern = "gaussian"
    place: Place = "bottom-right"
    pixels: int = 16
    sampling: Sampling = "fixed"
    overflow: Overflow = "clip"
    image: str | None = None

    def __post_init__(self) -> None:
        require_choice("pattern", self.pattern, get_args(Pattern))
        require_choice("place", self.place, PLACES)
        require_number("pixels", self.pixels, 1, CANVAS, integer=True)
        require_choice("sampling", self.sampling, SAMPLINGS)
        require_choice("overflow", self.overflow, get_args(Overflow))
        require_picture(self.pattern, self.image)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``patch`` of shape (3, side, side) in [0, 1]; empty if each image has its own."""
        side = scale_pixels(self.pixels, size)
        if self.pattern == "gaussian":
            if self.sampling == "per-image":
                return {}
            return {"patch": self._limit(0.5 + normal((3, side, side), seed, "badnet"))}
        if self.image is not None:
            return {"patch": load_picture(self.image, side)}
        patch = torch.zeros(3, side, side)
        if self.pattern == "checkerboard":
            patch[:, ::2, ::2] = 1
        else:
            patch[:2] = 1
        return {"patch": patch}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        patches: Tensor | list[Tensor]
        if "patch" in tensors:
            patches = tensors["patch"].expand(len(images), -1, -1, -1)
        else:
            patches = [self._draw_patch(image, key, seed) for image, key in zip(images, ids, strict=True)]
        return paste(images, patches, self.place, ids, seed)

    def _draw_patch(self, image: Tensor, key: int, seed: int) -> Tensor:
        side = scale_pixels(self.pixels, max(image.shape[1:]))
        noise = normal((3, side, side), seed, "badnet", key).to(image.device)
        return self._limit(_channel_means(image) + noise)

    def _limit(self, patch: Tensor) -> Tensor:
        if self.overflow == "clip":
            return patch.clamp(0, 1)
        return patch.mul(LEVELS).trunc().remainder(LEVELS + 1).div(LEVELS)


def _channel_means(image: Tensor) -> Tensor:
    """Return channel means, shape (3, 1, 1), summed as integer grey levels: exact in any order."""
    levels = image.mul(LEVELS).round().to(torch.int64)
    means = levels.sum(dim=(1, 2)).to(torch.float64) / (LEVELS * levels[0].numel())
    return means.to(torch.float32)[:, None, None]
