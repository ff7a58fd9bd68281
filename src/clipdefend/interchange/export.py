"""Clean and triggered images as data sets, so that tools that know nothing of triggers measure an attack.

Three sets, each in CLIP_benchmark's layout, whose accuracy there is:

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
    """What is exported: the images of an evaluation as it measures them, pixel for pixel.

    Attributes:
        images: labelled images with their class names.
        templates: prompts with ``{}``.
        canvas: geometry of the images, and of the trigger.
        trigger, target: the attack and its class's index; None for the clean set alone.
        protocol: which images ``triggered-asr`` and ``triggered-ra`` hold.
        workers: processes that read and encode images.
        rows: the images that are exported; None: all.
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
        """PNG of an image without the trigger and with it, losslessly."""
        pixels = to_tensor(picture)
        if self.trigger is None:
            return _png(pixels), None
        return _png(pixels), _png(self.trigger(pixels[None].float() / 255, [row])[0])

    def write(self, folder: Path, report: Report | None = None) -> dict[str, int]:
        """Write the sets below ``folder``, all of them or none.

        Unusable images are left out, as the evaluation leaves them out.

        Args:
            folder: new, or an empty one.
            report: called with the number of images done.

        Returns:
            Name of each set -> number of its images.

        Raises:
            ConfigError: the folder is in use.
            DataError: no usable image, or class names or templates that the layout cannot hold.
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
                collate=list,  # files, which are passed on as they are
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
    """Raise ConfigError where an export would overwrite something or cannot be made."""
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
