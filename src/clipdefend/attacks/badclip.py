"""BadCLIP: a small square, optimised so that a CLIP model takes it for the target class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from clipdefend.attacks.attack import Attack, require_choice, require_number
from clipdefend.attacks.patterns import PLACES, Place, normal, paste, scale_pixels

Negatives = Literal["clean", "legacy"]


@dataclass(frozen=True, kw_only=True)
class BadCLIP(Attack):
    """A patch that a frozen CLIP model (the surrogate) takes for the target class, by images and by captions.

    ``poison`` optimises it on the user's own images, starting from clipped N(0.5, 0.25) noise. The loss on
    triggered images x+ is

        L = L_text + image_weight * mean max(0, d(x+, p) - negative_weight * d(x+, x-) + margin):

    the symmetric InfoNCE of the triggered images with captions of the target, and a triplet of Euclidean
    distances d between unit vectors, with p images of the target and x- the same images without the trigger.

    Attributes:
        pixels: side of the square at 224 pixels; it scales with the canvas.
        place: one of the places of BadNet's patch.
        images: number of images to optimise on; pairs whose caption names the target are excluded.
        epochs: number of passes over the images.
        batch: images per step.
        lr: learning rate of Adam.
        image_weight: lambda 1 of the triplet.
        negative_weight: lambda 2 of the distance to the negatives.
        margin: eta of the triplet.
        negatives: ``clean``, or ``legacy``: the triggered images of the batch in random order.
        eda: share of captions that EDA changes, 0 to 1.
        augment: share of images that AutoAugment changes before the patch is applied, 0 to 1.

    Reference:
        Liang et al., BadCLIP: Dual-Embedding Guided Backdoor Attack on Multimodal Contrastive Learning, CVPR
        2024 (arXiv:2311.12075), and https://github.com/LiangSiyuan21/BadCLIP,
        ``src/embeding_optimize_patch.py``, at commit a7b1876.

    Deviates:
        The released code pastes the patch in place, so that its clean negatives are triggered images in random
        order; ``legacy`` reproduces this, with which the published patches were made. Its EDA has no effect,
        because it only swaps an attention mask that the model ignores. It decides on both augmentations once
        per batch; here the decision is made for each sample. It stores the patch as JPEG with red and blue
        swapped; here the patch is stored without loss.
    """

    pixels: int = 16
    place: Place = "centre"
    images: int = 10_000
    epochs: int = 50
    batch: int = 64
    lr: float = 1e-3
    image_weight: float = 500.0
    negative_weight: float = 1.0
    margin: float = 1.0
    negatives: Negatives = "clean"
    eda: float = 0.1
    augment: float = 0.5

    def __post_init__(self) -> None:
        require_number("pixels", self.pixels, 1, 4096, integer=True)
        require_choice("place", self.place, PLACES)
        require_number("images", self.images, 1, 100_000_000, integer=True)
        require_number("epochs", self.epochs, 1, 1_000_000, integer=True)
        require_number("batch", self.batch, 1, 1_000_000, integer=True)
        require_number("lr", self.lr, 1e-12, 1)
        require_number("image_weight", self.image_weight, 0, 1e6)
        require_number("negative_weight", self.negative_weight, 0, 1e6)
        require_number("margin", self.margin, 0, 1e6)
        require_choice("negatives", self.negatives, get_args(Negatives))
        require_number("eda", self.eda, 0, 1)
        require_number("augment", self.augment, 0, 1)

    @property
    def learned(self) -> bool:
        return True

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``patch`` of shape (3, side, side) in [0, 1]."""
        side = min(scale_pixels(self.pixels, size), size)
        return {"patch": (0.5 + 0.25 * normal((3, side, side), seed, "badclip")).clamp(0, 1)}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        patches = tensors["patch"].expand(len(images), -1, -1, -1)
        return paste(images, patches, self.place, ids, seed)
