"""What a format of pairs consists of, and what the formats share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipdefend.data.store.build import IndexWriter
from clipdefend.data.store.shards import Location
from clipdefend.data.tables.text_columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    choose_column,
    decode_caption,
)

IMAGE_FLAG = "--csv-img-key"
CAPTION_FLAG = "--csv-caption-key"
MAX_JSON_BYTES = 2**20
"""Largest file or member that a caption is read from."""
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Columns:
    """What the user said about the columns of a table; None: to be recognised.

    ``image_root`` is the folder that paths and links may lead into besides the source's own.
    """

    image: str | None = None
    caption: str | None = None
    delimiter: str | None = None
    image_root: Path | None = None

    def choose(
        self, names: Sequence[str], where: Path, images: Sequence[str] = IMAGE_COLUMNS
    ) -> tuple[int, int]:
        """Positions of the image and the caption column. Raises DataError when one is not known."""
        place = f"Table {str(where)!r}"
        return (
            choose_column(names, self.image, images, IMAGE_FLAG, place),
            choose_column(names, self.caption, CAPTION_COLUMNS, CAPTION_FLAG, place),
        )


@dataclass(frozen=True)
class Format:
    """A format of pairs.

    Args:
        name: for messages.
        endings: file name endings by which it is known.
        schema: columns of its index.
        write: writes the rows of some files into an index, hands what cannot become a row to its ``skip``, and
            returns what was recognised.
    """

    name: str
    endings: frozenset[str]
    schema: pa.Schema
    write: Callable[[IndexWriter, Sequence[Any], Columns], str]


def describe_files(files: Sequence[Location]) -> str:
    """The first file's name, and the number of the others."""
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1:,} more"


def describe_columns(image: str, caption: str) -> str:
    """The chosen columns, for people."""
    return f"image column {image!r}, caption column {caption!r}"


def caption_from_json(data: bytes) -> str:
    """The text under "caption" of a JSON object; empty when there is none that can be used."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    caption = record.get("caption") if isinstance(record, dict) else None
    return decode_caption(caption.encode(errors="ignore")) if isinstance(caption, str) else ""
