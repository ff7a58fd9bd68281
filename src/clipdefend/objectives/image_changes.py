"""Random augmentations of pictures, each a function of the picture and a seed, of which views are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipdefend.canvas import to_tensor


@contextmanager
def seed_torch(seed: int) -> Iterator[None]:
    """Context in which torch's CPU generator is seeded; costs a tenth of ``fork_rng``."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def pixels_of(picture: Image.Image) -> Tensor:
    """Convert an RGB picture to uint8, shape (3, h, w), channels last in memory as in the picture."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def auto_augment(picture: Image.Image, seed: int) -> Tensor:
    """Apply AutoAugment with the ImageNet policy; return uint8, shape (3, h, w).

    Reference: Cubuk et al. 2019; CleanCLIP, src/data.py.
    Deviates: CleanCLIP augments the original image and then resizes it; here the canvas is augmented, at a cost
    that does not depend on the size of the original.
    """
    with seed_torch(seed):
        return pixels_of(_auto_augment()(picture))


@cache
def _auto_augment() -> Callable[[Image.Image], Image.Image]:
    """Return torchvision's transform, built once: building its list of policies for each image would be slow."""
    from torchvision.transforms import AutoAugment

    made: Callable[[Image.Image], Image.Image] = AutoAugment()
    return made


def add_noise_and_erase(picture: Image.Image, seed: int) -> Tensor:
    """Make PAR's view: Gaussian noise of 0.2 with probability 0.5, and an erased rectangle with probability 0.5.

    Reference: Perturb and Recover (arXiv:2412.00727): noise 0.2, p 0.5; erasing p 0.5, 0.5 to 1 % of the area.
    """
    from torchvision.transforms import RandomErasing

    pixels = to_tensor(picture).float() / 255
    with seed_torch(seed):
        if torch.rand(()) < 0.5:
            pixels = (pixels + 0.2 * torch.randn(pixels.shape)).clamp(0, 1)
        pixels = RandomErasing(p=0.5, scale=(0.005, 0.01))(pixels)
    levels: Tensor = (pixels * 255).round().to(torch.uint8)
    return levels


def strong_augment(picture: Image.Image, seed: int) -> Tensor:
    """Crop, flip, recolour and blur the canvas at random; return uint8, shape (3, h, w).

    Reference: RoCLIP (Yang et al., NeurIPS 2023, arXiv:2303.06854), ``utils/augment_image.py``; also in SafeCLIP.
    Deviates: the canvas is augmented instead of the original image, differently in each epoch; the blur, of 21
    pixels and a deviation of 0.1 to 2 at 224 pixels, is scaled to the canvas.
    """
    with seed_torch(seed):
        return pixels_of(_strong_augment(picture.width)(picture))


@cache
def _strong_augment(side: int) -> Callable[[Image.Image], Image.Image]:
    from torchvision.transforms import (
        ColorJitter,
        Compose,
        GaussianBlur,
        RandomApply,
        RandomGrayscale,
        RandomHorizontalFlip,
        RandomResizedCrop,
    )

    made: Callable[[Image.Image], Image.Image] = Compose(
        [
            RandomHorizontalFlip(),
            RandomResizedCrop(side),
            RandomApply([ColorJitter(0.5, 0.5, 0.5, 0.1)], p=0.8),
            RandomGrayscale(p=0.2),
            GaussianBlur(2 * max(1, round(10 * side / 224)) + 1, (0.1 * side / 224, 2.0 * side / 224)),
        ]
    )
    return made
