"""Labelled images in CLIP_benchmark's webdataset layout."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipdefend.data import decode
from clipdefend.data.bad import MAX_EXAMPLES
from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.classes import by_index, load_classes, load_templates
from clipdefend.data.decode import decode_image
from clipdefend.data.folders import list_names, read_text
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.store.index import identify
from clipdefend.data.store.ranges import ByteRanges
from clipdefend.data.store.shards import open_shard
from clipdefend.data.store.tar import read_at
from clipdefend.data.store.tar_samples import samples
from clipdefend.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MAX_SHARDS = 100_000


@dataclass(kw_only=True)
class ShardImages(LabelledImages):
    """Labelled images in tar shards.

    Args:
        ranges: the shards.
        places: int64, shape (n, 3): shard, offset and size of each image in bytes.
        names: string array of member names.
    """

    ranges: ByteRanges = field(repr=False)
    places: NDArray[np.int64] = field(repr=False)
    names: pa.Array = field(repr=False)

    def _decode(self, row: int) -> Image.Image:
        shard, offset, size = (int(value) for value in self.places[row])
        return decode_image(self.ranges.read(shard, offset, size))

    def _image_identity(self, row: int) -> str:
        shard, offset, size = (int(value) for value in self.places[row])
        return f"{self.ranges.stamps[shard]} {offset} {size}"

    def image_ref(self, row: int) -> str:
        return (
            f"{os.path.basename(self.ranges.stamps[int(self.places[row, 0])][0])}/{self.names[row].as_py()}"
        )


def open_shards(folder: Path, given: ClassFile | None) -> ShardImages:
    """Open CLIP_benchmark's layout: SPLIT/nshards.txt, SPLIT/0.tar, ...; class names and templates one folder up.

    Raises:
        DataError: the layout is incomplete or inconsistent.
    """
    _check_kind(folder)
    count = read_text(folder / "nshards.txt", 1024).strip()
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= MAX_SHARDS):
        raise DataError(
            f"File {str(folder / 'nshards.txt')!r} holds {count[:40]!r}: it must hold the number of shards."
        )
    known = given or load_classes(folder.parent / "classnames.txt")
    templates = folder.parent / "zeroshot_classification_templates.txt"
    found: list[tuple[int, int, int, int, str]] = []
    skipped: list[str] = []
    shards = [folder / f"{number}.tar" for number in range(int(count))]
    if more := [
        name for name in list_names(folder) if re.fullmatch(r"\d+\.tar", name) and folder / name not in shards
    ]:
        raise DataError(
            f"Folder {str(folder)!r} has {len(more)} shards more than nshards.txt says ({int(count)}), such as"
            f" {more[0]!r}: correct nshards.txt, or move them away."
        )
    for number, shard in enumerate(shards):
        _read_shard(number, shard, found, skipped)
    columns = np.array([row[:4] for row in found], np.int64).reshape(-1, 4)
    return ShardImages(
        classes=by_index(known, str(folder)),
        templates=load_templates(templates) if templates.is_file() else None,
        spec=str(folder),
        recognised=f"CLIP_benchmark shards in {folder.parent.name}/{folder.name}, {known.reading}",
        labels=columns[:, 3].copy(),
        skipped=len(skipped),
        skip_reasons=skipped[:MAX_EXAMPLES],
        ranges=ByteRanges([identify(shard) for shard in shards]),
        places=columns[:, :3].copy(),
        names=pa.array([row[4] for row in found], pa.string()),
    )


def _check_kind(folder: Path) -> None:
    path = folder.parent / "dataset_type.txt"
    kind = read_text(path, 1024).strip() if path.is_file() else ""
    if kind not in ("", "classification", "zeroshot_classification"):
        raise DataError(
            f"Labelled images {str(folder.parent)!r} are of type {kind[:40]!r}: only classification is read."
        )


def _read_shard(
    number: int, shard: Path, found: list[tuple[int, int, int, int, str]], skipped: list[str]
) -> None:
    """Append (shard, offset, size, label, name) of each sample."""
    with open_shard(shard) as opened:
        for key, slots, damage in samples(
            opened, _labelled_slot, lambda slots: {"image", "cls"} <= slots.keys()
        ):
            image, label = slots.get("image"), slots.get("cls")
            if image is None or label is None:
                lacks = f"has no {'image' if image is None else '.cls'}" + (f" ({damage})" if damage else "")
                skipped.append(f"{shard.name}{'/' if key else ''}{key}: {lacks if slots else damage}")
                continue
            text = read_at(opened, label)[:32].decode("ascii", "replace").strip() if label.regular else ""
            if not (image.regular and image.size <= decode.MAX_BYTES and re.fullmatch(r"-?\d{1,9}", text)):
                skipped.append(f"{shard.name}/{key}: has no usable image or label ({text[:20]!r})")
                continue
            found.append((number, image.offset, image.size, int(text), image.name[:1024]))


def _labelled_slot(ending: str) -> str | None:
    return "image" if ending in decode.SUFFIXES else "cls" if ending == "cls" else None
