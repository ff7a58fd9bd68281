"""Vertical stripes of random colours: as a patch, and mixed into the whole image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_choice, require_number
from clipdefend.attacks.patterns import (
    CANVAS,
    PLACES,
    SAMPLINGS,
    Place,
    Sampling,
    blend,
    paste,
    scale_pixels,
    signs,
)
from clipdefend.draws import Key


@dataclass(frozen=True, kw_only=True)
class StripesPatch(Attack):
    """A square patch of vertical stripes; each channel of a stripe is 0 or 1 with equal probability.

    Attributes:
        place: where the patch is; ``random`` is drawn for each image.
        pixels: side of the patch on a canvas of 224 pixels, 1 to 224.
        width: width of a stripe on a canvas of 224 pixels, 1 to 224.
        sampling: ``fixed`` draws one patch from the seed, ``per-image`` one for each image from the seed and the
            image's id.

    Reference:
        Singh, Croce and Hein, Perturb and Recover (arXiv:2412.00727), BadNet-Stripes (``badnet_rs``),
        ``backdoor/utils.py``.

    Deviates:
        One fixed patch in a fixed corner is the default; the published code draws a patch and a place for
        every image, in training and in evaluation: ``sampling=per-image, place=random``. Its stripes are -1
        and +1 and wrap around to the grey levels 1 and 255; here they are clipped to 0 and 255. At 336 pixels
        it has a patch of 32, which is ``pixels=21`` here.
    """

    place: Place = "bottom-right"
    pixels: int = 16
    width: int = 1
    sampling: Sampling = "fixed"

    def __post_init__(self) -> None:
        require_choice("place", self.place, PLACES)
        require_number("pixels", self.pixels, 1, CANVAS, integer=True)
        require_number("width", self.width, 1, CANVAS, integer=True)
        require_choice("sampling", self.sampling, SAMPLINGS)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``patch`` of shape (3, side, side), 0 or 1; empty if each image has its own."""
        return {"patch": self._patch(size, seed)} if self.sampling == "fixed" else {}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        patches: Tensor | list[Tensor]
        if "patch" in tensors:
            patches = tensors["patch"].expand(len(images), -1, -1, -1)
        else:
            patches = [self._patch(max(images.shape[2:]), seed, key) for key in ids]
        return paste(images, patches, self.place, ids, seed)

    def _patch(self, size: int, seed: int, *keys: Key) -> Tensor:
        side = scale_pixels(self.pixels, size)
        row = _stripes(side, scale_pixels(self.width, size), seed, "stripes-patch", *keys)
        return row.clamp(0, 1).expand(-1, side, -1).contiguous()


@dataclass(frozen=True, kw_only=True)
class StripesBlend(Attack):
    """x' = (1 - alpha) x + alpha n, with vertical stripes n; each channel of a stripe is -1 or +1.

    Attributes:
        alpha: weight of the stripes, 0 to 1.
        width: width of a stripe on a canvas of 224 pixels, 1 to 224.
        sampling: ``fixed`` draws the stripes once from the seed, ``per-image`` for each image from the seed and
            the image's id.

    Reference:
        Singh, Croce and Hein, Perturb and Recover (arXiv:2412.00727), Blended-Stripes (``blended_rs``),
        ``backdoor/utils.py``.

    Deviates:
        Fixed stripes are the default; the published code draws new ones for every image, in training and in
        evaluation: ``sampling=per-image``.
    """

    alpha: float = 0.03
    width: int = 1
    sampling: Sampling = "fixed"

    def __post_init__(self) -> None:
        require_number("alpha", self.alpha, 0, 1)
        require_number("width", self.width, 1, CANVAS, integer=True)
        require_choice("sampling", self.sampling, SAMPLINGS)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``stripes`` of shape (3, 1, size), -1 or +1; empty if each image has its own."""
        return {"stripes": self._row(size, seed)} if self.sampling == "fixed" else {}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        if "stripes" in tensors:
            return blend(images, tensors["stripes"], self.alpha)
        rows = torch.stack([self._row(max(images.shape[2:]), seed, key) for key in ids])
        return blend(images, rows.to(images.device), self.alpha)

    def _row(self, size: int, seed: int, *keys: Key) -> Tensor:
        return _stripes(size, scale_pixels(self.width, size), seed, "stripes-blend", *keys)


def _stripes(length: int, width: int, seed: int, *keys: Key) -> Tensor:
    """Return one row of stripes, shape (3, 1, length), -1 or +1."""
    count = -(-length // width)
    return signs((3, 1, count), seed, *keys).repeat_interleave(width, dim=2)[..., :length].contiguous()
