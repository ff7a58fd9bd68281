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
    """Images with one class each. Picklable; images are read when asked for.

    Args:
        classes: class names, by label.
        templates: prompt templates with ``{}``; None where the source has none.
        spec: absolute description of the source.
        recognised: one line for people.
        labels: int64, shape (n,), each 0 to len(classes) - 1.
        skipped: samples of the source that are no labelled images.
        skip_reasons: the first of their reasons.
    """

    classes: list[str]
    templates: list[str] | None
    spec: str
    recognised: str
    labels: NDArray[np.int64] = field(repr=False)
    skipped: int = 0
    skip_reasons: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raises DataError for an empty set and for labels without a class."""
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
        """RGB image. Raises ImageError, which names the row and the file, when it cannot be used."""
        try:
            return self._decode(row)
        except ImageError as error:
            raise ImageError(
                f"Row {row} of {self.spec}, image {self.image_ref(row)[:200]!r}: {error}"
            ) from error

    @abstractmethod
    def _decode(self, row: int) -> Image.Image:
        """RGB image, or ImageError with the bare reason."""

    @abstractmethod
    def image_ref(self, row: int) -> str:
        """The image as the source names it."""

    def identity(self, rows: NDArray[np.int64]) -> str:
        """Hash of what some rows are: their labels' source, their images as far as files tell."""
        digest = hashlib.sha256(f"{self.spec}\0{len(self.classes)}\0".encode())
        for row in rows.tolist():
            digest.update(f"{row}\0{self.image_ref(row)}\0{self._stamp(row)}\n".encode())
        return digest.hexdigest()

    def _stamp(self, row: int) -> str:
        """What changes when the image of a row does: its pixels, where the source knows nothing cheaper."""
        try:
            return hashlib.sha256(self._decode(row).tobytes()).hexdigest()
        except ImageError as error:
            return str(error)

    def bad_rows(self, limit: float = 0.01) -> BadRows:
        """Counter of bad rows that begins with the skipped samples.

        Args:
            limit: largest allowed share of bad rows and skipped samples, 0 to 1.

        Raises:
            DataError: the skipped samples alone are more than that.
        """
        bad = BadRows(limit=limit, skipped=self.skipped, examples=list(self.skip_reasons))
        bad.check(len(self))
        return bad


def file_stamp(path: Path) -> str:
    """Path, bytes and time of change of a file, which is missing where it has neither."""
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"
