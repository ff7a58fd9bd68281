"""decode_image: the pixels of every kind of file, and one clear error for every kind of bad one."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipdefend.data import decode
from clipdefend.data.decode import ImageError, decode_image
from clipdefend.errors import DataError
from data_samples import encode, pixel, plain


def gradient(mode: str, size: tuple[int, int] = (16, 10)) -> Image.Image:
    count = size[0] * size[1] * len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, bytes(place * 7 % 256 for place in range(count)))


def same(left: Image.Image, right: Image.Image) -> bool:
    return left.mode == right.mode == "RGB" and np.array_equal(np.asarray(left), np.asarray(right))


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        *[(mode, "PNG") for mode in ("L", "LA", "RGB", "RGBA")],
        *[(mode, "JPEG") for mode in ("L", "RGB", "CMYK", "YCbCr")],
        *[(mode, "WEBP") for mode in ("RGB", "RGBA")],
        *[("CMYK", "TIFF"), ("RGB", "BMP"), ("RGB", "PPM")],
    ],
)
def test_8_bit_images_give_the_pixels_of_pillows_convert(mode: str, format: str) -> None:
    data = encode(gradient(mode), format)
    assert same(decode_image(data), Image.open(io.BytesIO(data)).convert("RGB"))


def test_bilevel_and_animation() -> None:
    assert decode_image(encode(Image.new("1", (3, 3), 1))).getpixel((1, 1)) == (255, 255, 255)
    frames = [plain((255, 0, 0)), plain((0, 255, 0))]
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(animated).getpixel((0, 0)) == (255, 0, 0)


def test_stereo_photos_of_phones() -> None:
    data = encode(plain(), "MPO", save_all=True, append_images=[plain((0, 0, 0))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    red, green, _ = pixel(decode_image(data), (0, 0))
    assert red > 190 > 50 > green


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)  # 32768 * 255 / 65535 = 127.50 -> 128
    data = encode(Image.fromarray(values))
    assert [pixel[0] for pixel in np.asarray(decode_image(data))[0]] == [0, 1, 128, 255]
    tiff = encode(Image.fromarray(values), "TIFF")
    assert np.array_equal(np.asarray(decode_image(tiff)), np.asarray(decode_image(data)))


def test_palette_with_transparency_keeps_the_stored_colours(recwarn: pytest.WarningsRecorder) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    data = encode(image, transparency=bytes([0, 255]))
    decoded = decode_image(data)
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (200, 100, 50)]
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    # The upright picture has its red corner at the top left; each orientation stores it elsewhere.
    upright = plain((0, 0, 255), (16, 32))
    upright.paste((255, 0, 0), (0, 0, 8, 8))
    stored_from_upright = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in stored_from_upright[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(stored, format, exif=exif))
    assert decoded.size == (16, 32)
    red, _, blue = pixel(decoded, (3, 3))
    assert red > 200 > 100 > blue
    assert pixel(decoded, (12, 28))[2] > 200


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored() -> None:
    data = encode(plain(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode_image(data).size == (12, 8)


def truncated_jpeg() -> bytes:
    data = encode(gradient("RGB", (64, 64)), "JPEG")
    return data[: len(data) // 2]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"no image at all", "not an image in a format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image in a format"),
        (truncated_jpeg(), "truncated"),
        (encode(plain(size=(64, 64)), "PNG")[:-40], "cannot be decoded"),
        (bomb(50_000, 50_000), "pixels"),
        (bomb(10_000, 9_000), "more than the 89,478,485 pixels"),
        (bomb(60_000, 1), "short side"),
        (encode(Image.new("F", (4, 4)), "TIFF"), "no defined range"),
        (encode(Image.new("I", (4, 4)), "TIFF"), "no defined range"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_images_are_image_errors_of_one_line(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode_image(data)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_bombs_are_refused_from_the_header_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    with pytest.raises(ImageError, match="short side"):
        decode_image(bomb(60_000, 2))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(40))
def test_scrambled_files_never_raise_anything_else(seed: int) -> None:
    draws = np.random.default_rng(seed)
    formats = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]
    data = bytearray(encode(gradient("RGB", (40, 30)), formats[seed % len(formats)]))
    for place in draws.integers(0, len(data), 12):
        data[place] = draws.integers(256)
    with contextlib.suppress(ImageError):  # the only error there may be
        assert decode_image(bytes(data)).mode == "RGB"


def test_files_that_are_missing_folders_pipes_or_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match="not found"):
        decode_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="not a regular file"):
        decode_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        decode_image(tmp_path / "pipe.png")
    (tmp_path / "good.png").write_bytes(encode(plain()))
    assert decode_image(tmp_path / "good.png").getpixel((0, 0)) == (200, 30, 30)
    monkeypatch.setattr(decode, "MAX_BYTES", 20)
    with pytest.raises(ImageError, match="more than the 20 allowed"):
        decode_image(tmp_path / "good.png")
