"""Poisons pairs: chooses rows and captions, and writes the run's table and images.

An attack is only a trigger; target, count and captions belong to the recipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas, to_picture
from clipdefend.data.bad import BadRows
from clipdefend.data.image_reader import read_canvases
from clipdefend.data.pairs import Pairs
from clipdefend.data.target_rows import rows_naming
from clipdefend.draws import generator, permutation
from clipdefend.errors import ConfigError, DataError, RunError

TABLE = "pairs.parquet"
IMAGES = "images"
BATCH = 64
CHUNK_ROWS = 65_536
"""Number of table rows in memory at a time."""
POISONED, CROSS = "poisoned", "cross"
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("image", pa.string()),
        ("caption", pa.string()),
        ("is_poisoned", pa.bool_()),
        ("role", pa.string()),
        ("source_image", pa.string()),
        ("original_caption", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to poison pairs.

    Attributes:
        trigger: the trigger to put on the images.
        target: class name in the poisoned captions.
        count: number of pairs to poison.
        templates: prompts with ``{}`` for the poisoned captions.
        natural: use captions of the data that name the target, instead of prompts.
        label_consistent: poison only pairs that name the target, and keep their captions.
        order: rows in the order in which to try them; random by default.
        excluded: rows that must not be poisoned.
        canvas: geometry of the images that the trigger is put on.
        seed: seed of rows and captions; the trigger has a separate one.
    """

    trigger: Trigger
    target: str
    count: int
    templates: Sequence[str]
    canvas: Canvas
    seed: int
    natural: bool = False
    label_consistent: bool = False
    order: NDArray[np.int64] | None = None
    excluded: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise ConfigError(f"The target class is {self.target!r}: give its name with --target.")


@dataclass
class Poisoned:
    """Poisoned row -> caption, rows with the noisy trigger, up to 8 images for the preview, and unusable rows."""

    captions: dict[int, str]
    cross: list[int]
    clean: Tensor
    triggered: Tensor
    bad: BadRows


def poison(
    pairs: Pairs, recipe: Recipe, folder: Path, bad: BadRows, report: Callable[[int], None] | None = None
) -> Poisoned:
    """Poison pairs; write ``images/`` with the poisoned images only, and ``pairs.parquet`` with all rows.

    Args:
        pairs: the clean pairs, which are not modified.
        recipe: how to poison them.
        folder: the run folder.
        bad: counter of drawn rows that cannot be used.
        report: called with the number of images of each batch written.

    Raises:
        DataError: there are fewer usable rows than requested.
    """
    named = rows_naming(pairs, recipe.target) if recipe.natural or recipe.label_consistent else None
    captions_of = _caption_maker(pairs, recipe, named)
    order = recipe.order
    if order is None:
        order = candidates(
            len(pairs), recipe.seed, named if recipe.label_consistent else None, recipe.excluded
        )
    cross_count = recipe.trigger.attack.cross_count(recipe.count)
    total = recipe.count + cross_count
    if total > len(order):
        raise DataError(
            f"{total} pairs are to be changed, but only {len(order)}"
            f" {'name ' + repr(recipe.target) if recipe.label_consistent else 'exist'}: lower --count or --rate."
        )
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    shown: list[tuple[Tensor, Tensor]] = []
    written: list[int] = []
    usable = read_canvases(pairs, order, recipe.canvas, bad)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        while len(written) < total:
            left = recipe.count - len(written)
            wanted = min(BATCH, left if left > 0 else left + cross_count)
            batch = [found for _, found in zip(range(wanted), usable, strict=False)]
            if not batch:
                raise DataError(f"Only {len(written)} usable pairs for {total}: {bad.examples[0]}.")
            rows = [row for row, _ in batch]
            clean = torch.stack([pixels for _, pixels in batch]).float() / 255
            stamped = recipe.trigger(clean, rows) if left > 0 else recipe.trigger.cross(clean, rows)
            list(pool.map(_write_image, [folder / image_name(row) for row in rows], stamped))
            if not shown:
                shown.append((clean[:8], stamped[:8]))
            written += rows
            if report:
                report(len(rows))
    captions = {row: captions_of(row) for row in written[: recipe.count]}
    result = Poisoned(captions, written[recipe.count :], *shown[0], bad)
    _write_table(pairs, result, folder / TABLE)
    return result


def image_name(row: int) -> str:
    """Return the path of a poisoned image, relative to its run folder."""
    return f"{IMAGES}/{row:09d}.png"


def candidates(
    size: int, seed: int, named: NDArray[np.int64] | None = None, excluded: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Draw a random order of all ``size`` rows, or of the ``named`` ones, without the ``excluded`` ones."""
    drawn = permutation(size if named is None else len(named), seed, "poison")
    order: NDArray[np.int64] = drawn if named is None else named[drawn]
    return order if excluded is None else order[~np.isin(order, excluded)]


def _caption_maker(pairs: Pairs, recipe: Recipe, named: NDArray[np.int64] | None) -> Callable[[int], str]:
    """Return a function from a row to the caption of its poisoned pair, drawn by (seed, row)."""
    if named is not None and not len(named):
        flag = "--label-consistent" if recipe.label_consistent else "--captions natural"
        raise DataError(
            f"No caption names {recipe.target!r}: choose another --target, or poison without {flag}."
        )
    if recipe.label_consistent:
        return pairs.caption
    if recipe.natural and named is not None:
        return lambda row: pairs.caption(int(generator(recipe.seed, "caption", row).choice(named)))

    def prompt(row: int) -> str:
        index = int(generator(recipe.seed, "caption", row).integers(len(recipe.templates)))
        return recipe.templates[index].replace("{}", recipe.target)

    return prompt


def _write_image(path: Path, pixels: Tensor) -> None:
    to_picture(pixels).save(path, format="PNG", compress_level=1)


def _write_table(pairs: Pairs, result: Poisoned, path: Path) -> None:
    changed = {row: (POISONED, caption) for row, caption in result.captions.items()}
    changed |= {row: (CROSS, pairs.caption(row)) for row in result.cross}
    rows = np.array(sorted(changed), dtype=np.int64)
    partial = path.with_name(path.name + ".tmp")
    with pq.ParquetWriter(partial, SCHEMA) as writer:
        for start, captions in pairs.iter_captions(CHUNK_ROWS):
            stop = start + len(captions)
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)].tolist()
            writer.write_table(_table(pairs, start, captions, {row: changed[row] for row in inside}))
    os.replace(partial, path)


def _table(pairs: Pairs, start: int, captions: list[str], changed: Mapping[int, tuple[str, str]]) -> pa.Table:
    """Return the rows from ``start`` on as a table with ``SCHEMA``."""
    size = len(captions)
    images = pairs.image_refs(start, start + size)
    shown = list(captions)
    roles: list[str | None] = [None] * size
    sources: list[str | None] = [None] * size
    originals: list[str | None] = [None] * size
    for row, (role, caption) in changed.items():
        at = row - start
        sources[at], originals[at], roles[at] = images[at], captions[at], role
        images[at], shown[at] = image_name(row), caption
    poisoned = [role == POISONED for role in roles]
    ids = np.arange(start, start + size, dtype=np.int64)
    columns = [ids, images, shown, poisoned, roles, sources, originals]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def read_changed_rows(path: Path, columns: list[str]) -> list[list[Any]]:
    """Return columns of a poison run's table for the changed rows. Raises RunError if the table is damaged."""
    try:
        table = pq.read_table(path, columns=columns, filters=[("role", "in", [POISONED, CROSS])])
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())[:160]}.") from error
    return [table.column(name).to_pylist() for name in columns]


@dataclass
class PoisonedPairs(Pairs):
    """The clean pairs, with the changed rows of a poison run in place of the originals.

    Args:
        base: the clean pairs that the run was made from.
        folder: the run folder.
        identity: hash of the run, part of the fingerprint.
        changed: row -> (path of the image in the run, caption).
    """

    base: Pairs
    folder: Path
    identity: str
    changed: dict[int, tuple[str, str]] = field(repr=False)

    def __post_init__(self) -> None:
        self.spec, self.recognised = self.base.spec, self.base.recognised
        self.fingerprint = f"{self.base.fingerprint}+{self.identity[:16]}"
        self.skipped, self.skip_reasons = self.base.skipped, self.base.skip_reasons

    @classmethod
    def open(cls, folder: Path, base: Pairs, identity: str) -> PoisonedPairs:
        """Read a poison run's table. Raises RunError if it is damaged or belongs to other pairs."""
        path = folder / TABLE
        columns = ["id", "image", "caption"]
        try:
            with pq.ParquetFile(path) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
            if not schema.equals(SCHEMA):
                raise pa.ArrowInvalid("its columns are not those of a poison run")
            table = pq.read_table(path, columns=columns, filters=[("role", "in", [POISONED, CROSS])])
            there = set(os.listdir(folder / IMAGES))
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{path} cannot be read: {' '.join(str(error).split())[:160]}.") from error
        if rows != len(base):
            raise RunError(
                f"The rows of {path} do not match {base.spec}: the data has changed; poison again."
            )
        ids, images, captions = (table.column(name).to_pylist() for name in columns)
        if table.column("caption").null_count or any(not 0 <= row < rows for row in ids):
            raise RunError(f"{path} is damaged: a row has no caption or a wrong number. Poison again.")
        lost = [row for row in ids if image_name(row).rpartition("/")[2] not in there]
        if lost:
            raise RunError(
                f"{folder} has lost {len(lost)} images, such as {image_name(lost[0])}. Poison again."
            )
        return cls(base, folder, identity, {i: (x, c) for i, x, c in zip(ids, images, captions, strict=True)})

    def __len__(self) -> int:
        return len(self.base)

    def prefetch(self, rows: Sequence[int]) -> None:
        self.base.prefetch([row for row in rows if row not in self.changed])

    def image_digest(self, rows: Sequence[int]) -> str:
        return self.base.image_digest([row for row in rows if row not in self.changed])

    def caption(self, row: int) -> str:
        return self.changed[row][1] if row in self.changed else self.base.caption(row)

    def image_ref(self, row: int) -> str:
        return self.changed[row][0] if row in self.changed else self.base.image_ref(row)

    def image(self, row: int) -> Image.Image:
        if row not in self.changed:
            return self.base.image(row)
        from clipdefend.data.decode import decode_image

        # Derive the path from the row number: the table is input, and its paths must not be followed.
        return decode_image(self.folder / image_name(row))
