"""The canvas: torchvision's and open_clip's geometry, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from clipdefend.canvas import Canvas, to_picture, to_tensor
from clipdefend.models.clip import OPENAI_MEAN, OPENAI_STD

SIZES = [
    (40, 30),
    (30, 40),
    (33, 65),
    (65, 33),
    (32, 32),
    (31, 32),
    (32, 33),
    (7, 500),
    (500, 7),
    (1, 1),
    (64, 63),
]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_crop_is_torchvisions_resize_and_centre_crop(size: tuple[int, int], interpolation: str) -> None:
    image = picture(*size)
    theirs = Compose([Resize(32, InterpolationMode(interpolation)), CenterCrop(32)])
    assert np.array_equal(pixels(Canvas(32, "crop", interpolation).picture(image)), pixels(theirs(image)))


@pytest.mark.parametrize("size", [(40, 30), (33, 65), (500, 300)], ids=str)
def test_crop_and_normalisation_are_open_clips_preprocessing(size: tuple[int, int]) -> None:
    from open_clip.transform import image_transform

    image = picture(*size)
    theirs = image_transform(24, is_train=False, mean=OPENAI_MEAN, std=OPENAI_STD)(image)
    ours = Canvas(24)(image).float() / 255
    ours = (ours - torch.tensor(OPENAI_MEAN).view(3, 1, 1)) / torch.tensor(OPENAI_STD).view(3, 1, 1)
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_squash_keeps_every_border_whatever_the_aspect(size: tuple[int, int]) -> None:
    image = picture(*size)
    squashed = Canvas(32, "squash").picture(image)
    assert np.array_equal(pixels(squashed), pixels(image.resize((32, 32), Image.Resampling.BICUBIC)))


def test_crop_cuts_the_long_side_and_squash_does_not() -> None:
    image = Image.new("RGB", (96, 32), (0, 0, 0))
    image.paste((255, 0, 0), (0, 0, 8, 32))
    assert pixels(Canvas(32).picture(image)).max() == 0
    assert pixels(Canvas(32, "squash").picture(image)).max() == 255


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    image = picture(32, 32)
    for mode in ("crop", "squash"):
        assert np.array_equal(pixels(Canvas(32, mode).picture(image)), pixels(image))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = picture(40, 30, mode)
    made = Canvas(16).picture(image)
    assert (made.mode, made.size) == ("RGB", (16, 16))
    assert np.array_equal(pixels(made), pixels(Canvas(16).picture(image.convert("RGB"))))


def test_tensors_and_pictures_are_the_same_pixels() -> None:
    image = picture(5, 3)
    tensor = Canvas(16)(image)
    assert (tensor.shape, tensor.dtype) == ((3, 16, 16), torch.uint8)
    levels = to_tensor(image)
    assert levels.shape == (3, 3, 5)
    assert levels[2, 1, 4] == np.asarray(image)[1, 4, 2]
    assert np.array_equal(pixels(to_picture(levels)), pixels(image))
    assert np.array_equal(pixels(to_picture(levels.float() / 255)), pixels(image))
