"""Decodes an untrusted image to RGB, or says in one line why it cannot be used."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipdefend.errors import DataError

MAX_BYTES = 128 * 2**20
"""Size limit of an encoded image, in bytes."""
MAX_PIXELS = 89_478_485
"""Size limit of a decoded image, in pixels: Pillow's own limit for decompression bombs."""
MAX_ASPECT = 200
"""Limit of the aspect ratio: a 1 x 60,000 image is small, but not once its short side is resized to 224."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Supported formats. Pillow supports more, some of which start other programs (EPS)."""
SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"})
"""File name endings, in lower case without the dot, by which images in a folder are recognised."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(DataError):
    """An image that is missing, damaged, too large or in an unsupported format."""


def decode_image(data: bytes | Path) -> Image.Image:
    """Decode an image to upright 8-bit RGB.

    8-bit images give the pixels of Pillow's ``convert("RGB")``, which open_clip feeds to its models: an alpha
    channel is dropped (the stored colour is kept, nothing is composited) and CMYK is converted without a
    profile. The first frame of an animation is used. The size is checked in the header, before any pixel is
    decoded.

    Args:
        data: the encoded image, or the file that contains it.

    Returns:
        A loaded image of mode RGB; its file is closed.

    Raises:
        ImageError: the image is missing, not a regular file, empty, truncated, larger than MAX_BYTES or
            MAX_PIXELS, in a format other than FORMATS, or of a pixel type without a defined range (floating
            point, 32-bit integers).

    Deviates: from open_clip in two cases in which its pixels are wrong: 16-bit greyscale is scaled to 8 bits
    (some Pillow versions clip it to white), and the EXIF orientation is applied.
    """
    content = data if isinstance(data, bytes) else read_regular(data, MAX_BYTES)
    if not content:
        raise ImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            image.load()
            return _rotate_upright(_to_rgb(image), _orientation(image))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image in a format that is read ({', '.join(FORMATS)})") from error
    except Exception as error:  # damaged files make Pillow's decoders raise nearly every built-in exception
        raise ImageError(
            f"cannot be decoded: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes, without ever blocking on a pipe or a device.

    Raises:
        ImageError: the file is missing, unreadable, not a regular file, or larger than the limit.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ImageError(_os_reason(error)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not a regular file")
        if status.st_size > limit:
            raise ImageError(f"has {status.st_size:,} bytes, more than the {limit:,} allowed")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit)
    except OSError as error:
        raise ImageError(_os_reason(error)) from error
    finally:
        os.close(handle)


def _os_reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file not found"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(f"is {width} x {height}, more than the {MAX_PIXELS:,} pixels allowed")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"is {width} x {height}, longer than {MAX_ASPECT} times its short side")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to RGB; RGB is returned without a copy, which would cost a quarter of decoding."""
    mode = image.mode
    if mode == "RGB":
        return image
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):
        raise ImageError(
            f"has pixels of type {mode!r}, which have no defined range; save it with 8 or 16 bits"
        )
    if mode in ("La", "RGBa") or (mode == "P" and "transparency" in image.info):
        image = image.convert("LA" if mode == "La" else "RGBA")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or damaged, and for TIFF, which Pillow rotates itself."""
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # hostile EXIF raises anything; the pixels are still good
        return 1


def _rotate_upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)
