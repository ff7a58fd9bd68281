"""Blended: a pattern as large as the image, mixed into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_choice, require_number, require_picture
from clipdefend.attacks.patterns import SAMPLINGS, Sampling, blend, load_picture, uniform

Pattern = Literal["noise", "image"]


@dataclass(frozen=True, kw_only=True)
class Blended(Attack):
    """x' = (1 - alpha) x + alpha n, with n ~ U(0, 1) for each value, or an image file.

    Attributes:
        alpha: weight of the pattern, 0 to 1.
        pattern: ``noise`` or ``image``.
        sampling: ``fixed`` draws one noise pattern from the seed, ``per-image`` one for each image from the
            seed and the image's id.
        image: path of the image file of pattern ``image``; it is resized (squashed) to the canvas.

    Reference:
        Chen et al., Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning
        (arXiv:1712.05526), section 3.3; alpha and noise as in CleanCLIP (arXiv:2303.03323),
        ``backdoor/utils.py``.

    Deviates:
        One fixed pattern is the default, as in Chen et al.; CleanCLIP and its descendants draw new noise for
        every image, in training and in evaluation: ``sampling=per-image``.
    """

    alpha: float = 0.2
    pattern: Pattern = "noise"
    sampling: Sampling = "fixed"
    image: str | None = None

    def __post_init__(self) -> None:
        require_number("alpha", self.alpha, 0, 1)
        require_choice("pattern", self.pattern, get_args(Pattern))
        require_choice("sampling", self.sampling, SAMPLINGS)
        require_picture(self.pattern, self.image)

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``pattern`` of shape (3, size, size) in [0, 1]; empty if each image has its own."""
        if self.image is not None:
            return {"pattern": load_picture(self.image, size)}
        if self.sampling == "per-image":
            return {}
        return {"pattern": uniform((3, size, size), seed, "blended")}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        if "pattern" in tensors:
            return blend(images, tensors["pattern"], self.alpha)
        drawn = [uniform((3, *images.shape[2:]), seed, "blended", key) for key in ids]
        return blend(images, torch.stack(drawn).to(images.device), self.alpha)
