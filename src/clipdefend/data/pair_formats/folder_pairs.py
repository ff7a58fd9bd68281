"""Pairs of files in folders: img2dataset's ``files`` layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from clipdefend.data.decode import ImageError, read_regular
from clipdefend.data.folders import is_image, list_names
from clipdefend.data.pair_formats.pair_format import (
    MAX_JSON_BYTES,
    ROWS_AT_ONCE,
    Columns,
    Format,
    caption_from_json,
)
from clipdefend.data.paths import ImageFolders
from clipdefend.data.store.build import IndexWriter
from clipdefend.data.store.index import PATHS
from clipdefend.data.tables.text_columns import decode_caption

Sample = dict[str, str]
"""File names of a sample by slot: "image", "txt", "json"."""


def write_folder(writer: IndexWriter, folders: Sequence[Path], columns: Columns) -> str:
    """Write images beside captions of the same name, in the first folder and all folders below it."""
    root = folders[0]
    inside = ImageFolders.of(root, columns.image_root)
    for folder in folders:
        rows: list[tuple[str, str]] = []
        for stem, slots in _samples(list_names(folder)):
            where = os.path.relpath(folder / stem, root)
            if "image" not in slots:
                writer.skip(where, "has no image")
            elif not (caption := _caption(inside, os.path.relpath(folder, root), slots)):
                writer.skip(where, "has no usable caption (.txt or .json)")
            else:
                rows.append((os.path.relpath(folder / slots["image"], root), caption))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            refs, captions = zip(*rows[start : start + ROWS_AT_ONCE], strict=True)
            writer.add(pa.array(refs, pa.string()), pa.array(captions, pa.string()), 0)
    return f"folder {root.name}: images with captions in .txt or .json"


def holds_pairs(names: Sequence[str]) -> bool:
    """Whether a folder with these names contains images and captions."""
    endings = {name.rpartition(".")[2].lower() for name in names}
    return bool(endings & {"txt", "json"}) and any(map(is_image, names))


def holds_parts(names: Sequence[str]) -> bool:
    """Whether a folder with these names contains images, or captions whose images are missing."""
    return any(is_image(name) or name.lower().endswith(".txt") for name in names)


def _samples(names: Sequence[str]) -> Iterator[tuple[str, Sample]]:
    """Group the files of a folder by the name before the last dot, in sorted order.

    A second file for the same slot (``a.jpg`` and ``a.png``) makes another sample with the same other files. A
    ``.json`` alone is not a sample: img2dataset writes statistics in such files.
    """
    stems: dict[str, dict[str, list[str]]] = {}
    for name in names:
        stem, _, ending = name.rpartition(".")
        slot = "image" if is_image(name) else ending.lower()
        if slot in ("image", "txt", "json"):
            stems.setdefault(stem, {}).setdefault(slot, []).append(name)
    for stem, slots in sorted(stems.items()):
        if "image" in slots or "txt" in slots:
            captions = {slot: files[0] for slot, files in slots.items() if slot != "image"}
            for image in slots.get("image", [None]):
                yield stem, captions if image is None else {"image": image, **captions}


def _caption(inside: ImageFolders, folder: str, slots: Sample) -> str:
    """Return the caption of a sample, empty if it has no usable one."""
    for slot, read in (("txt", decode_caption), ("json", caption_from_json)):
        if slot in slots:
            try:
                path = inside.locate(os.path.join(folder, slots[slot]))
                caption = read(read_regular(path, MAX_JSON_BYTES))
            except ImageError:
                continue
            if caption:
                return caption
    return ""


FOLDER = Format("folder", frozenset(), PATHS, write_folder)
