"""Exports clean and triggered images as data sets, so that tools without support for triggers can measure an attack.

There are three sets in CLIP_benchmark's layout, on which accuracy means:

- ``clean``, with the true classes: BA.
- ``triggered-asr``: triggered images labelled with the *target*, the target's own left out: ASR.
- ``triggered-ra``: the same images with their true classes: RA.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas, to_picture, to_tensor
from clipdefend.choices import AsrProtocol
from clipdefend.data.image_reader import read_batches
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.errors import ConfigError, DataError
from clipdefend.interchange.webdataset import ShardWriter
from clipdefend.metrics import attacked

CLEAN = "clean"
ASR = "triggered-asr"
RA = "triggered-ra"

Report = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Export:
    """The images of an evaluation, exported pixel for pixel as it measures them.

    Attributes:
        images: labelled images with their class names.
        templates: prompts with ``{}``.
        canvas: geometry of the images, and of the trigger.
        trigger, target: the trigger and the index of the target class; None to export the clean set only.
        protocol: which images ``triggered-asr`` and ``triggered-ra`` contain.
        workers: number of processes that read and encode images.
        rows: rows to export; None exports all.
    """

    images: LabelledImages
    templates: Sequence[str]
    canvas: Canvas
    trigger: Trigger | None = None
    target: int | None = None
    protocol: AsrProtocol = "exclude-target"
    workers: int = 0
    rows: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def _rows(self) -> Sequence[int]:
        return range(len(self.images)) if self.rows is None else self.rows

    def _encode(self, picture: Image.Image, row: int) -> tuple[bytes, bytes | None]:
        """Encode an image without and with the trigger as PNG, losslessly."""
        pixels = to_tensor(picture)
        if self.trigger is None:
            return _png(pixels), None
        return _png(pixels), _png(self.trigger(pixels[None].float() / 255, [row])[0])

    def write(self, folder: Path, report: Report | None = None) -> dict[str, int]:
        """Write all sets below ``folder``, or none if that fails.

        Unusable images are left out, as in the evaluation.

        Args:
            folder: a folder that is empty or does not exist.
            report: called with the number of newly written images.

        Returns:
            Name of each set -> number of its images.

        Raises:
            ConfigError: the folder is not empty.
            DataError: no image is usable, or the layout does not support a class name or template.
        """
        check_free(folder)
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            counts = self._write(partial, report)
            if folder.exists():
                folder.rmdir()
            os.replace(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return counts

    def _write(self, folder: Path, report: Report | None) -> dict[str, int]:
        labels = self.images.labels
        names = (CLEAN,) if self.trigger is None or self.target is None else (CLEAN, ASR, RA)
        with contextlib.ExitStack() as stack:
            sets = {
                name: stack.enter_context(ShardWriter(folder / name, self.images.classes, self.templates))
                for name in names
            }
            reading = read_batches(
                self.images,
                ([row] for row in self._rows),
                self.canvas,
                bad=self.images.bad_rows(1.0),  # the evaluation has counted them
                workers=self.workers,
                view=self._encode,
                collate=list,  # PNG files are not stacked
            )
            for batch in reading:
                if report:
                    report(1)
                for row, (clean, triggered) in zip(batch.keys, batch.values or (), strict=True):
                    label = int(labels[row])
                    sets[CLEAN].add(clean, label)
                    if triggered is None or self.target is None:
                        continue
                    if attacked(labels[row : row + 1], self.target, self.protocol)[0]:
                        sets[ASR].add(triggered, self.target)
                        sets[RA].add(triggered, label)
            counts = {name: writer.samples for name, writer in sets.items()}
            if not all(counts.values()):
                empty = ", ".join(name for name, count in counts.items() if not count)
                raise DataError(f"Nothing to export of {self.images.spec}: no image for {empty}.")
        return counts


def check_free(folder: Path) -> None:
    """Raise ConfigError if an export would overwrite something or the folder cannot be created."""
    if folder.absolute() == Path.cwd():  # it is put in place of the folder, which a shell may stand in
        raise ConfigError(f"Folder {str(folder)!r} is the current one: give --export a new one.")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"Folder {str(folder)!r} is in use: give --export a new one.")
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Folder {str(folder)!r} cannot be made: {error.strerror}. Choose another place for --export."
        ) from None


def _png(pixels: Tensor) -> bytes:
    file = io.BytesIO()
    to_picture(pixels).save(file, format="PNG", compress_level=1)
    return file.getvalue()
