"""Helpers that triggers share: scaling, places, seeded noise, pictures from files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipdefend.draws import Key, generator
from clipdefend.errors import DataError

CANVAS = 224
"""Pixels of the canvas on which the papers give sizes."""

Place = Literal["bottom-right", "bottom-left", "top-right", "top-left", "four-corners", "centre", "random"]
PLACES: tuple[str, ...] = get_args(Place)
Sampling = Literal["fixed", "per-image"]
SAMPLINGS: tuple[str, ...] = get_args(Sampling)

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PICTURE_PIXELS = 64_000_000


def scale_pixels(pixels: float, size: int) -> int:
    """Scale a length from the 224-pixel canvas to one of ``size`` pixels: 16 becomes 5 at 64; at least 1."""
    return max(1, round(pixels * size / CANVAS))


def uniform(shape: Sequence[int], seed: int, *keys: Key) -> Tensor:
    """Draw from U(0, 1), float32."""
    return torch.from_numpy(generator(seed, *keys).random(tuple(shape), dtype=np.float32))


def normal(shape: Sequence[int], seed: int, *keys: Key) -> Tensor:
    """Draw from N(0, 1), float32."""
    return torch.from_numpy(generator(seed, *keys).standard_normal(tuple(shape), dtype=np.float32))


def signs(shape: Sequence[int], seed: int, *keys: Key) -> Tensor:
    """Draw -1 or +1 with equal chances, float32."""
    drawn = generator(seed, *keys).integers(0, 2, tuple(shape), dtype=np.int8)
    return torch.from_numpy(drawn.astype(np.float32) * 2 - 1)


def corners(place: str, height: int, width: int, side: int, seed: int, key: int) -> list[tuple[int, int]]:
    """Return the top left corners (row, column) at which a square patch of ``side`` pixels is pasted.

    ``random`` is drawn for each image, uniformly over every place at which the whole patch fits.
    """
    bottom, right = height - side, width - side
    if place == "random":
        draw = generator(seed, "place", key)
        return [(int(draw.integers(bottom + 1)), int(draw.integers(right + 1)))]
    if place == "centre":
        return [(bottom // 2, right // 2)]
    if place == "four-corners":
        return [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    row, column = place.split("-")
    return [(bottom if row == "bottom" else 0, right if column == "right" else 0)]


def paste(
    images: Tensor, patches: Sequence[Tensor] | Tensor, place: str, ids: Sequence[int], seed: int
) -> Tensor:
    """Overwrite squares of the images in place; gradients flow to the patches.

    Args:
        images: shape (n, 3, h, w).
        patches: one patch of shape (3, side, side) for each image; cropped if the image is smaller.
        place: one of `PLACES`.
        ids: n sample ids.
        seed: the trigger's seed.
    """
    height, width = images.shape[2:]
    for index, (patch, key) in enumerate(zip(patches, ids, strict=True)):
        side = min(patch.shape[-1], height, width)
        for row, column in corners(place, height, width, side, seed, key):
            images[index, :, row : row + side, column : column + side] = patch[:, :side, :side]
    return images


def blend(images: Tensor, pattern: Tensor, share: float) -> Tensor:
    """Return (1 - share) x + share n, in place.

    Args:
        images: x, shape (n, 3, h, w).
        pattern: n, shape (..., height, width); cropped to the image.
        share: weight of the pattern, 0 to 1.
    """
    height, width = images.shape[2:]
    return images.mul_(1 - share).add_(pattern[..., :height, :width] * share)


def load_picture(path: str, size: int) -> Tensor:
    """Load an image file and resize it (bicubic, squashed) to shape (3, size, size), float32 in [0, 1].

    Raises:
        DataError: the file is missing, damaged, in an unsupported format or larger than 64 million pixels.
    """
    file = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=PICTURE_FORMATS) as picture:
                if picture.width * picture.height > MAX_PICTURE_PIXELS:
                    raise Image.DecompressionBombError
                pixels = np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(
            f"Trigger image {path!r} is larger than {MAX_PICTURE_PIXELS:,} pixels: give a smaller one."
        ) from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else "not a readable image"
        raise DataError(
            f"Trigger image {path!r}: {reason}. Supported formats: {', '.join(PICTURE_FORMATS)}."
        ) from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(torch.float32).div(255).contiguous()
