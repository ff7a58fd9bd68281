"""Text columns: chooses which to read, and checks their content."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipdefend.data.paths import MAX_PATH_BYTES
from clipdefend.errors import DataError
from clipdefend.registry import nearest

Skip = Callable[[str, str], None]
"""Called for each row that cannot be read, with its location and the reason."""

IMAGE_COLUMNS = ("filepath", "image", "image_path", "file_name", "path")
CAPTION_COLUMNS = ("title", "caption", "text")
LABEL_COLUMNS = ("label",)
MAX_CAPTION_BYTES = 16_384
"""Limit of a caption, in bytes of UTF-8; CLIP itself reads 77 tokens."""
_ADDRESS = re.compile(r"^(?:https?|s3|gs)://", re.IGNORECASE)
_ADDRESS_COLUMNS = ("url", "image_url", "img_url", "image url", "image_urls", "urls")
_IMAGE_PATH = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
DOWNLOAD = (
    "download the images first (img2dataset does it) and give the folder or the .tar shards that it writes"
)

NO_IMAGE = (
    "the row holds no image, as in the rows that img2dataset writes for failed downloads:"
    " keep those whose status is 'success'"
)


def find_column(names: Sequence[str], given: str | None, candidates: Sequence[str]) -> int | None:
    """Find the position of a column: the one that the user named, else the first candidate, in any case."""
    if given is not None:
        return names.index(given) if given in names else None
    plain = [name.strip().casefold() for name in names]
    return next((plain.index(candidate) for candidate in candidates if candidate in plain), None)


def choose_column(
    names: Sequence[str], given: str | None, candidates: Sequence[str], flag: str, where: str
) -> int:
    """Find the position of a column like ``find_column``, but refuse missing and duplicate columns.

    Args:
        flag: the option that names the column, for messages.
        where: the file, for messages.

    Raises:
        DataError: the column is missing or occurs twice; the message lists the columns found.
    """
    place = find_column(names, given, candidates)
    shown = ", ".join(repr(name[:60]) for name in names[:30]) + (", ..." if len(names) > 30 else "")
    if place is None and given is not None:
        raise DataError(
            f"{where} has no column {given!r} ({flag}).{nearest(given, list(names))} Its columns: {shown}."
        )
    if place is None:
        raise DataError(
            f"{where}: none of the columns {shown} is known ({', '.join(candidates)}):"
            f" {_advice(names, candidates, flag)}."
        )
    if names.count(names[place]) > 1:
        raise DataError(
            f"{where} has {names.count(names[place])} columns named {names[place]!r}: rename all but one."
        )
    return place


def _advice(names: Sequence[str], candidates: Sequence[str], flag: str) -> str:
    """Advise on a missing column, depending on what the table seems to be."""
    plain = [name.strip().casefold() for name in names]
    if any(_ADDRESS.match(name) or _IMAGE_PATH.search(name) for name in plain):
        return "its first line is a row, not a header; put a line of column names before it, such as filepath and title"
    if candidates != IMAGE_COLUMNS or not (addresses := [name for name in plain if name in _ADDRESS_COLUMNS]):
        return f"name the right one with {flag}"
    if {"key", "status"} <= set(plain):
        return "this is the table of addresses that img2dataset writes; give the folder or the .tar shards beside it"
    return (
        f"column {addresses[0]!r} holds web addresses, not files; {DOWNLOAD}. Name another column with {flag}"
    )


def is_address(text: str) -> bool:
    """Whether text is a URL instead of a path."""
    return _ADDRESS.match(text) is not None


def usable_paths(column: Any) -> pa.Array:
    """Convert to strings without nulls; values that are not text or too long for a path become empty."""
    return _limited(_text(column), MAX_PATH_BYTES)


def usable_captions(column: Any) -> pa.Array:
    """Convert to stripped strings without nulls; unusable ones become empty.

    Unusable are values that are not UTF-8, over MAX_CAPTION_BYTES or with NUL, which a damaged disk leaves in text.
    """
    texts = _limited(pc.utf8_trim_whitespace(_text(column)), MAX_CAPTION_BYTES)
    return pc.if_else(pc.match_substring(texts, "\0"), "", texts)


def decode_caption(data: bytes | None) -> str:
    """Decode one caption by the same rule; empty if it is unusable."""
    if data is None or len(data) > MAX_CAPTION_BYTES + 64:
        return ""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return ""
    return text if len(text.encode()) <= MAX_CAPTION_BYTES and "\0" not in text else ""


def _text(column: Any) -> pa.Array:
    """Convert text or bytes to text, null if they are not UTF-8."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_utf8(value) for value in column.to_pylist()], pa.string())


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _limited(column: pa.Array, limit: int) -> pa.Array:
    filled = pc.fill_null(column, "")
    return pc.if_else(pc.less_equal(pc.binary_length(filled), limit), filled, "")
