"""Random changes of a picture, each a function of the picture and a seed; views are made of them."""

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
    """Context in which torch's draws on the CPU come from ``seed``; costs a tenth of ``fork_rng``."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def pixels_of(picture: Image.Image) -> Tensor:
    """RGB picture to uint8, shape (3, h, w), channels last in memory, as pictures and convolutions have them."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def auto_augment(picture: Image.Image, seed: int) -> Tensor:
    """AutoAugment with the ImageNet policy, uint8 (3, h, w).

    Reference: Cubuk et al. 2019; CleanCLIP, src/data.py.
    Deviates: CleanCLIP augments the original image and then resizes it; here the canvas is augmented, which
    costs the same for an original of any size.
    """
    with seed_torch(seed):
        return pixels_of(_auto_augment()(picture))


@cache
def _auto_augment() -> Callable[[Image.Image], Image.Image]:
    """torchvision's, made once: listing its policies for each image would be slow."""
    from torchvision.transforms import AutoAugment

    made: Callable[[Image.Image], Image.Image] = AutoAugment()
    return made


def add_noise_and_erase(picture: Image.Image, seed: int) -> Tensor:
    """PAR's view: Gaussian noise of 0.2 with probability one half, and an erased rectangle likewise.

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
    """A random part of the canvas, flipped, recoloured and blurred, uint8 (3, h, w).

    Reference: RoCLIP (Yang et al., NeurIPS 2023, arXiv:2303.06854), ``utils/augment_image.py``; SafeCLIP takes it, too.
    Deviates: the canvas is changed instead of the original image, anew in each epoch, and the blur, of 21
    pixels and a deviation of 0.1 to 2 on 224, is scaled to the canvas.
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
