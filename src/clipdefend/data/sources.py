"""The formats of image-caption pairs: each writes its rows into an index and says what it recognised."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipdefend.data import decode, tables
from clipdefend.data.decode import ImageError, read_regular
from clipdefend.data.store import tar
from clipdefend.data.store.build import IndexWriter
from clipdefend.data.store.index import BYTES, PATHS
from clipdefend.data.store.shards import Location, Shard, open_shard
from clipdefend.data.text_columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    choose_column,
    decode_caption,
    usable_captions,
    usable_paths,
)
from clipdefend.errors import DataError

IMAGE_FLAG = "--csv-img-key"
CAPTION_FLAG = "--csv-caption-key"
MAX_JSON_BYTES = 2**20
_ROWS_AT_ONCE = 8192
_SHARD_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
_PACKED_COLUMNS = (*IMAGE_COLUMNS, "jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class Columns:
    """What the user said about the columns; None: to be recognised."""

    image: str | None = None
    caption: str | None = None
    delimiter: str | None = None

    def choose(
        self, names: Sequence[str], where: Path, images: Sequence[str] = IMAGE_COLUMNS
    ) -> tuple[int, int]:
        """Positions of the image and the caption column. Raises DataError when one is not known."""
        place = f"Table {str(where)!r}"
        return (
            choose_column(names, self.image, images, IMAGE_FLAG, place),
            choose_column(names, self.caption, CAPTION_COLUMNS, CAPTION_FLAG, place),
        )


def write_csv(writer: IndexWriter, files: Sequence[Path], columns: Columns) -> str:
    for source, path in enumerate(files):
        wanted = ((columns.image, IMAGE_COLUMNS), (columns.caption, CAPTION_COLUMNS))
        header = tables.read_header(path, columns.delimiter, wanted)
        image, caption = columns.choose(header.names, path)
        for paths, captions in tables.csv_rows(path, header, (image, caption), writer.skip):
            writer.add(usable_paths(paths), usable_captions(captions), source)
        names = (header.names[image], header.names[caption])
    return f"CSV {_named(files)}: delimiter {header.delimiter!r}, {_chosen(*names)}"


def write_jsonl(writer: IndexWriter, files: Sequence[Path], columns: Columns) -> str:
    for source, path in enumerate(files):
        fields = tables.jsonl_fields(path)
        image, caption = columns.choose(fields, path)
        names = (fields[image], fields[caption])
        for paths, captions in tables.jsonl_rows(path, names, writer.skip):
            writer.add(usable_paths(paths), usable_captions(captions), source)
    return f"JSON lines {_named(files)}: {_chosen(*names)}"


def write_parquet(writer: IndexWriter, files: Sequence[Path], columns: Columns) -> str:
    """Images may be paths, encoded bytes, or Hugging Face's struct of both; bytes are copied beside the
    index.
    """
    for source, path in enumerate(files):
        table = tables.open_parquet(path)
        schema = table.schema_arrow
        image, caption = columns.choose(schema.names, path, _PACKED_COLUMNS)
        names = (schema.names[image], schema.names[caption])
        kind = _image_kind(schema.field(image).type, names[0], path)
        _check_text(schema.field(caption).type, names[1], path)
        for packed, captions in tables.parquet_rows(path, table, names, kind != "path"):
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
    return f"Parquet {_named(files)}: {_chosen(*names)}" + ("" if kind == "path" else " (images inside)")


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
    """Append each image to the index's bytes. Offset and size; size -1 where there are none or too many."""
    offsets, sizes = [], []
    for value in content:
        data = value.as_buffer()
        usable = data is not None and data.size <= decode.MAX_BYTES
        offsets.append(writer.write_blob(data) if usable else -1)
        sizes.append(data.size if usable else -1)
    return offsets, sizes


def write_tar(writer: IndexWriter, files: Sequence[Location], columns: Columns) -> str:
    """Shards as img2dataset and webdataset write them: KEY.jpg|jpeg|png|webp with KEY.txt, or a caption in
    KEY.json.
    """
    for source, path in enumerate(files):
        rows: list[tuple[str, str, int, int]] = []
        with open_shard(path) as shard:
            try:
                for key, slots in tar.samples(shard, _pair_slot, _is_pair):
                    caption, problem = _shard_caption(slots, shard)
                    if problem:
                        writer.skip(f"{path.name}/{key}", problem)
                        continue
                    image = slots["image"]
                    rows.append((image.name[:1024], caption, image.offset, image.size))
                    if len(rows) == _ROWS_AT_ONCE:
                        _add_members(writer, rows, source)
                        rows = []
            except tar.TarDamage as damage:
                writer.skip(path.name, str(damage))
        if rows:
            _add_members(writer, rows, source)
    return f"tar {_named(files)}: images with captions in .txt or .json"


def _pair_slot(ending: str) -> str | None:
    return "image" if ending in _SHARD_SUFFIXES else ending if ending in ("txt", "json") else None


def _is_pair(slots: tar.Slots) -> bool:
    return "image" in slots and ("txt" in slots or "json" in slots)


def _shard_caption(slots: tar.Slots, shard: Shard) -> tuple[str, str]:
    """Caption of a sample, and why it is no pair or an empty text."""
    if "image" not in slots:
        return "", "has no image"
    if any(not member.regular for member in slots.values()):
        return "", "is a link or a device, which is not followed"
    if slots["image"].size > decode.MAX_BYTES:
        return "", f"image of {slots['image'].size:,} bytes, more than {decode.MAX_BYTES:,}"
    for slot, read in (("txt", decode_caption), ("json", _json_caption)):
        member = slots.get(slot)
        if member is not None and member.size <= MAX_JSON_BYTES:
            caption = read(tar.read_at(shard, member))
            if caption:
                return caption, ""
    return (
        "",
        "has no usable caption" if "txt" in slots or "json" in slots else "has no caption (.txt or .json)",
    )


def _json_caption(data: bytes) -> str:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    caption = record.get("caption") if isinstance(record, dict) else None
    return decode_caption(caption.encode(errors="ignore")) if isinstance(caption, str) else ""


def _add_members(writer: IndexWriter, rows: list[tuple[str, str, int, int]], source: int) -> None:
    names, captions, offsets, sizes = zip(*rows, strict=True)
    writer.add(pa.array(names, pa.string()), pa.array(captions, pa.string()), source, offsets, sizes)


def write_folder(writer: IndexWriter, folders: Sequence[Path], columns: Columns) -> str:
    """img2dataset's ``files`` layout: images beside captions of the same name, here or one folder down."""
    root = folders[0]
    for folder in folders:
        rows: list[tuple[str, str]] = []
        for stem, slots in sorted(_stems(folder).items()):
            if "image" not in slots and "txt" not in slots:
                continue
            where = os.path.relpath(folder / stem, root)
            caption = _file_caption(folder, slots)
            if "image" not in slots or not caption:
                writer.skip(where, "has no image" if caption else "has no usable caption (.txt or .json)")
            else:
                rows.append((os.path.relpath(folder / slots["image"], root), caption))
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            refs, captions = zip(*rows[start : start + _ROWS_AT_ONCE], strict=True)
            writer.add(pa.array(refs, pa.string()), pa.array(captions, pa.string()), 0)
    return f"folder {root.name}: images with captions in .txt or .json"


def _stems(folder: Path) -> dict[str, dict[str, str]]:
    """File names of a folder by stem, then by slot "image", "txt" or "json"."""
    stems: dict[str, dict[str, str]] = {}
    for name in list_names(folder):
        stem, _, ending = name.rpartition(".")
        slot = "image" if ending.lower() in decode.SUFFIXES else ending.lower()
        if slot in ("image", "txt", "json"):
            stems.setdefault(stem, {})[slot] = name
    return stems


def list_names(folder: Path) -> list[str]:
    """Sorted names in a folder. Raises DataError when it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"Folder {str(folder)!r} cannot be listed: {error.strerror or error}.") from error


def _file_caption(folder: Path, slots: dict[str, str]) -> str:
    for slot, read in (("txt", decode_caption), ("json", _json_caption)):
        if slot in slots:
            try:
                caption = read(read_regular(folder / slots[slot], MAX_JSON_BYTES))
            except ImageError:
                continue
            if caption:
                return caption
    return ""


def _named(files: Sequence[Location]) -> str:
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1:,} more"


def _chosen(image: str, caption: str) -> str:
    return f"image column {image!r}, caption column {caption!r}"


@dataclass(frozen=True)
class Format:
    """A format of pairs.

    Args:
        name: for messages.
        endings: file name endings by which it is known.
        schema: columns of its index.
        write: writes the rows of some files and returns what was recognised.
    """

    name: str
    endings: frozenset[str]
    schema: pa.Schema
    write: Callable[[IndexWriter, Sequence[Any], Columns], str]


CSV = Format("CSV", frozenset({".csv", ".tsv", ".txt"}), PATHS, write_csv)
JSONL = Format("JSON lines", frozenset({".jsonl", ".ndjson", ".json"}), PATHS, write_jsonl)
PARQUET = Format("Parquet", frozenset({".parquet", ".pq"}), BYTES, write_parquet)
TAR = Format("tar", frozenset({".tar"}), BYTES, write_tar)
FOLDER = Format("folder", frozenset(), PATHS, write_folder)
FORMATS = (CSV, JSONL, PARQUET, TAR)
