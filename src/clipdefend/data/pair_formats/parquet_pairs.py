"""Reads pairs from Parquet files, with images inside or in separate files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipdefend.data import decode
from clipdefend.data.pair_formats.pair_format import (
    CAPTION_FLAG,
    IMAGE_FLAG,
    Columns,
    Format,
    describe_columns,
    describe_files,
)
from clipdefend.data.store.build import IndexWriter
from clipdefend.data.store.index import BYTES
from clipdefend.data.tables.parquet_table import open_parquet, parquet_rows
from clipdefend.data.tables.text_columns import IMAGE_COLUMNS, usable_captions, usable_paths
from clipdefend.errors import DataError

_PACKED_COLUMNS = (*IMAGE_COLUMNS, "jpg", "jpeg", "png", "webp")


def write_parquet(writer: IndexWriter, files: Sequence[Path], columns: Columns) -> str:
    """Write the rows of Parquet files.

    Images may be paths, encoded bytes, or Hugging Face's struct of both; bytes are copied beside the index.
    """
    for source, path in enumerate(files):
        table = open_parquet(path)
        schema = table.schema_arrow
        image, caption = columns.choose(schema.names, path, _PACKED_COLUMNS)
        names = (schema.names[image], schema.names[caption])
        kind = _image_kind(schema.field(image).type, names[0], path)
        _check_text(schema.field(caption).type, names[1], path)
        for packed, captions in parquet_rows(path, table, names, kind != "path"):
            captions = usable_captions(captions)
            if kind == "path":
                empty = [-1] * len(packed)
                writer.add(usable_paths(packed), captions, source, empty, empty)
            else:
                if pa.types.is_dictionary(packed.type):
                    packed = packed.dictionary_decode()
                content = pc.struct_field(packed, "bytes") if kind == "struct" else packed
                has_path = kind == "struct" and packed.type.get_field_index("path") >= 0
                paths = pc.struct_field(packed, "path") if has_path else pa.nulls(len(packed), pa.string())
                writer.add(usable_paths(paths), captions, source, *_copy_bytes(writer, content))
    return f"Parquet {describe_files(files)}: {describe_columns(*names)}" + (
        "" if kind == "path" else " (images inside)"
    )


def _image_kind(kind: pa.DataType, name: str, path: Path) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "path"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytes"
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "struct"
    raise DataError(
        f"Table {str(path)!r}: column {name!r} is of type {kind}; images must be paths, bytes or a struct of"
        f" bytes and path. Name another column with {IMAGE_FLAG}."
    )


def _check_text(kind: pa.DataType, name: str, path: Path) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(
            f"Table {str(path)!r}: column {name!r} is of type {kind}; captions must be text."
            f" Name another column with {CAPTION_FLAG}."
        )


def _copy_bytes(writer: IndexWriter, content: Any) -> tuple[list[int], list[int]]:
    """Append images to the index's bytes; return offsets and sizes, with size -1 for missing or too large images."""
    offsets, sizes = [], []
    for value in content:
        data = value.as_buffer()
        usable = data is not None and data.size <= decode.MAX_BYTES
        offsets.append(writer.write_blob(data) if usable else -1)
        sizes.append(data.size if usable else -1)
    return offsets, sizes


PARQUET = Format("Parquet", frozenset({".parquet", ".pq"}), BYTES, write_parquet)
