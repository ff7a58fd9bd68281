"""Labelled images for zero-shot evaluation and linear probes, in any of the usual layouts."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipdefend.data.bad import BadRows
from clipdefend.data.decode import ImageError
from clipdefend.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


@dataclass(kw_only=True)
class LabelledImages(ABC):
    """Images with one class each, which can be pickled and are read on demand.

    Args:
        classes: class names, by label.
        templates: prompt templates with ``{}``; None if the source has none.
        spec: absolute description of the source.
        recognised: one line about the recognised layout, for people.
        labels: int64, shape (n,), each 0 to len(classes) - 1.
        skipped: number of samples in the source that are not labelled images.
        skip_reasons: the first reasons for skipping a sample.
    """

    classes: list[str]
    templates: list[str] | None
    spec: str
    recognised: str
    labels: NDArray[np.int64] = field(repr=False)
    skipped: int = 0
    skip_reasons: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raise DataError if the set is empty or a label has no class."""
        if not len(self.labels):
            reason = f" The first problem: {self.skip_reasons[0]}." if self.skip_reasons else ""
            raise DataError(f"Labelled images {self.spec!r} ({self.recognised}) hold no image.{reason}")
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.classes)))
        if len(outside):
            row = int(outside[0])
            raise DataError(
                f"Labelled images {self.spec!r}: {self.image_ref(row)!r} has label {self.labels[row]}, but"
                f" there are {len(self.classes)} class names (labels 0 to {len(self.classes) - 1});"
                f" {len(outside):,} such rows."
            )
        skipped = f", {self.skipped:,} samples skipped" if self.skipped else ""
        self.recognised += f", {len(self):,} images of {len(self.classes):,} classes{skipped}"

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, row: int) -> int:
        return int(self.labels[row])

    def image(self, row: int) -> Image.Image:
        """Read an RGB image. Raises ImageError, which names the row and the file, if it cannot be used."""
        try:
            return self._decode(row)
        except ImageError as error:
            raise ImageError(
                f"Row {row} of {self.spec}, image {self.image_ref(row)[:200]!r}: {error}"
            ) from error

    @abstractmethod
    def _decode(self, row: int) -> Image.Image:
        """Read an RGB image. Raises ImageError with the bare reason."""

    @abstractmethod
    def image_ref(self, row: int) -> str:
        """Return the source's name of an image."""

    def identity(self, rows: NDArray[np.int64]) -> str:
        """Return a hash that changes when the source or an image of these rows does; used as a cache key."""
        digest = hashlib.sha256(f"{self.spec}\0{len(self.classes)}\0".encode())
        for row in rows.tolist():
            digest.update(f"{row}\0{self.image_ref(row)}\0{self._image_identity(row)}\n".encode())
        return digest.hexdigest()

    def _image_identity(self, row: int) -> str:
        """Return text that changes when the image of a row does; by default a hash of its pixels."""
        try:
            return hashlib.sha256(self._decode(row).tobytes()).hexdigest()
        except ImageError as error:
            return str(error)

    def bad_rows(self, limit: float = 0.01) -> BadRows:
        """Return a counter of bad rows that starts with the skipped samples.

        Args:
            limit: largest allowed share of bad rows and skipped samples, 0 to 1.

        Raises:
            DataError: the skipped samples alone exceed the limit.
        """
        bad = BadRows(limit=limit, skipped=self.skipped, examples=list(self.skip_reasons))
        bad.check(len(self))
        return bad


def file_identity(path: Path) -> str:
    """Return path, size and modification time of a file as text; a missing file has only a path."""
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"
