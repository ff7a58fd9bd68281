"""Definition of a format of pairs, and helpers that formats share."""

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
"""Size limit, in bytes, of a file or member that contains a caption."""
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Columns:
    """The user's choice of table columns; None to recognise them.

    ``image_root`` is another folder that paths and links may point into, besides the source's own.
    """

    image: str | None = None
    caption: str | None = None
    delimiter: str | None = None
    image_root: Path | None = None

    def choose(
        self, names: Sequence[str], where: Path, images: Sequence[str] = IMAGE_COLUMNS
    ) -> tuple[int, int]:
        """Return the positions of the image and the caption column. Raises DataError if one is not found."""
        place = f"Table {str(where)!r}"
        return (
            choose_column(names, self.image, images, IMAGE_FLAG, place),
            choose_column(names, self.caption, CAPTION_COLUMNS, CAPTION_FLAG, place),
        )


@dataclass(frozen=True)
class Format:
    """A format of pairs.

    Args:
        name: name of the format, for messages.
        endings: file name endings by which it is recognised.
        schema: schema of its index.
        write: writes the rows of some files to an index, passes samples that cannot become rows to ``skip`` of
            the index, and returns what was recognised.
    """

    name: str
    endings: frozenset[str]
    schema: pa.Schema
    write: Callable[[IndexWriter, Sequence[Any], Columns], str]


def describe_files(files: Sequence[Location]) -> str:
    """Return the first file's name and the number of the others, for people."""
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1:,} more"


def describe_columns(image: str, caption: str) -> str:
    """Describe the chosen columns, for people."""
    return f"image column {image!r}, caption column {caption!r}"


def caption_from_json(data: bytes) -> str:
    """Return the text under "caption" of a JSON object, empty if it has no usable one."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    caption = record.get("caption") if isinstance(record, dict) else None
    return decode_caption(caption.encode(errors="ignore")) if isinstance(caption, str) else ""
