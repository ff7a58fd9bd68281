"""The canvas: the square of pixels that triggers go onto and that models see.

One geometry for training and evaluation, for clean and for triggered images: after resizing and cropping,
before normalisation. A confound between accuracy and attack success needs two geometries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Canvas:
    """Geometry from an image to the model's input.

    Args:
        size: side in pixels.
        mode: "crop" resizes the shorter side to ``size`` and crops the centre, as open_clip does; "squash"
            resizes to the square whatever the aspect, the older backdoor papers' protocol.
        interpolation: "bicubic", "bilinear" or "nearest".
    """

    size: int
    mode: str = "crop"
    interpolation: str = "bicubic"

    def picture(self, image: Image.Image) -> Image.Image:
        """The canvas as an RGB picture of ``size`` x ``size``."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        width, height = image.size
        if (width, height) == (self.size, self.size):
            return image
        resampling = RESAMPLING[self.interpolation]
        if self.mode == "squash":
            return image.resize((self.size, self.size), resampling)
        # Sizes and offsets are torchvision's Resize and CenterCrop, which open_clip uses.
        short, long = min(width, height), max(width, height)
        scaled = int(self.size * long / short)
        width, height = (self.size, scaled) if width <= height else (scaled, self.size)
        image = image.resize((width, height), resampling)
        left, top = round((width - self.size) / 2.0), round((height - self.size) / 2.0)
        return image.crop((left, top, left + self.size, top + self.size))

    def __call__(self, image: Image.Image) -> Tensor:
        """The canvas as uint8, shape (3, size, size)."""
        return to_tensor(self.picture(image))


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture to uint8, shape (3, h, w)."""
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def to_picture(pixels: Tensor) -> Image.Image:
    """uint8, or float in [0, 1] on the 256 grey levels, shape (3, h, w), to an RGB picture."""
    levels = pixels if pixels.dtype == torch.uint8 else (pixels * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())
