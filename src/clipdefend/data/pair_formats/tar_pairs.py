"""Reads pairs from tar shards in the layout of img2dataset and webdataset."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from clipdefend.data import decode
from clipdefend.data.pair_formats.pair_format import (
    MAX_JSON_BYTES,
    ROWS_AT_ONCE,
    Columns,
    Format,
    caption_from_json,
    describe_files,
)
from clipdefend.data.store.build import IndexWriter
from clipdefend.data.store.index import BYTES
from clipdefend.data.store.shards import Location, Shard, open_shard
from clipdefend.data.store.tar import read_at
from clipdefend.data.store.tar_samples import Slots, samples
from clipdefend.data.tables.text_columns import decode_caption


def write_tar(writer: IndexWriter, files: Sequence[Location], columns: Columns) -> str:
    """Write the rows of tar shards: KEY.jpg (or another image ending) with KEY.txt, or a caption in KEY.json."""
    for source, path in enumerate(files):
        rows: list[tuple[str, str, int, int]] = []
        with open_shard(path) as shard:
            for key, slots, damage in samples(shard, _pair_slot, _is_pair):
                caption, problem = _caption(slots, shard) if slots else ("", damage)
                if problem:
                    hint = f" ({damage})" if slots and damage else ""
                    writer.skip(f"{path.name}/{key}" if key else path.name, problem + hint)
                    continue
                image = slots["image"]
                rows.append((image.name[:1024], caption, image.offset, image.size))
                if len(rows) == ROWS_AT_ONCE:
                    _add_members(writer, rows, source)
                    rows = []
        if rows:
            _add_members(writer, rows, source)
    return f"tar {describe_files(files)}: images with captions in .txt or .json"


def _pair_slot(ending: str) -> str | None:
    return "image" if ending in decode.SUFFIXES else ending if ending in ("txt", "json") else None


def _is_pair(slots: Slots) -> bool:
    return "image" in slots and ("txt" in slots or "json" in slots)


def _caption(slots: Slots, shard: Shard) -> tuple[str, str]:
    """Return the caption of a sample, and why the sample is not a pair, or empty text."""
    if "image" not in slots:
        return "", "has no image"
    if any(not member.regular for member in slots.values()):
        return "", "is a link or a device, which is not followed"
    if slots["image"].size > decode.MAX_BYTES:
        return "", f"image of {slots['image'].size:,} bytes, more than {decode.MAX_BYTES:,}"
    for slot, read in (("txt", decode_caption), ("json", caption_from_json)):
        member = slots.get(slot)
        if member is not None and member.size <= MAX_JSON_BYTES:
            caption = read(read_at(shard, member))
            if caption:
                return caption, ""
    return (
        "",
        "has no usable caption" if "txt" in slots or "json" in slots else "has no caption (.txt or .json)",
    )


def _add_members(writer: IndexWriter, rows: list[tuple[str, str, int, int]], source: int) -> None:
    names, captions, offsets, sizes = zip(*rows, strict=True)
    writer.add(pa.array(names, pa.string()), pa.array(captions, pa.string()), source, offsets, sizes)


TAR = Format("tar", frozenset({".tar"}), BYTES, write_tar)
