"""Small images, tables and tars for the tests of the readers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def plain(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def numbered(number: int) -> bytes:
    """PNG of 4 x 4 whose first pixel holds the number."""
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 0] = (*divmod(number, 256), 7)
    return encode(Image.fromarray(pixels))


def number_of(image: Image.Image) -> int:
    high, low, mark = pixel(image, (0, 0))
    assert mark == 7
    return high * 256 + low


def write_tar(path: Path, members: list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pixel(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """Levels of one pixel of an RGB image."""
    levels = image.getpixel(place)
    assert isinstance(levels, tuple)
    return levels
