"""The splits of the built-in world and their cache of pixels."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipdefend.errors import DataError
from clipdefend.world.draw import draw
from clipdefend.world.nouns import CLASSES
from clipdefend.world.scene import SIZE, Dice, Scene, caption, compose, counter_draws

VERSION = 1  # of the drawings: raise it with every change of a pixel or a word
CACHED = 20_000  # larger splits are drawn as they are read


@dataclass(frozen=True)
class Layout:
    """Where a split's scenes lie among all scenes, and whether they carry labels."""

    first: int
    size: int
    labelled: bool = False


LAYOUTS: dict[str, Layout] = {
    "train": Layout(first=0, size=20_000),
    "eval": Layout(first=1 << 32, size=2_000, labelled=True),
    "pretrain": Layout(first=1 << 33, size=100_000),
}


def cache_folder() -> Path | None:
    """``$CLIPDEFEND_CACHE``, or the user's cache folder; None for a user without a home, as in some containers."""
    given = os.environ.get("CLIPDEFEND_CACHE")
    if given:
        return Path(given)
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(caches or Path.home() / ".cache") / "clipdefend"
    except RuntimeError:
        return None


@dataclass
class Split:
    """Captioned, and for "eval" labelled, scenes of the built-in world. Picklable; pixels memory-mapped."""

    name: str
    layout: Layout
    _pixels: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.layout.size

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "layout": self.layout, "_pixels": None}

    def _compose(self, index: int) -> tuple[Scene, Dice]:
        if not 0 <= index < len(self):
            raise IndexError(f"Scene {index} of a split of {len(self)}.")
        dice = Dice(counter_draws(self.layout.first + index, 1)[0])
        return compose(dice, label=self.label(index) if self.layout.labelled else None), dice

    def label(self, index: int) -> int:
        """Class of a labelled scene: each class equally often."""
        return index % len(CLASSES)

    def caption(self, index: int) -> str:
        return caption(self._compose(index)[0])

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Pixels of a scene, shape (64, 64, 3)."""
        if self.layout.size > CACHED:
            return draw(*self._compose(index))
        if self._pixels is None:
            self._pixels = self._open_cache()
        image: NDArray[np.uint8] = self._pixels[index]
        return image

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels(index))

    def draw_all(self) -> NDArray[np.uint8]:
        """Pixels of all scenes, shape (n, 64, 64, 3)."""
        draws = counter_draws(self.layout.first, len(self))
        pixels = np.empty((len(self), SIZE, SIZE, 3), dtype=np.uint8)
        for index, row in enumerate(draws):
            dice = Dice(row)
            scene = compose(dice, label=self.label(index) if self.layout.labelled else None)
            pixels[index] = draw(scene, dice)
        return pixels

    def _open_cache(self) -> NDArray[np.uint8]:
        shape = (len(self), SIZE, SIZE, 3)
        folder = cache_folder()
        if folder is None:
            return self.draw_all()
        path = folder / f"world-{VERSION}-{self.name}.npy"
        try:
            cached: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
            if cached.shape == shape and cached.dtype == np.uint8:
                return cached
        except (OSError, ValueError, EOFError):
            pass  # absent or damaged: drawn anew
        pixels = self.draw_all()
        try:
            _write(path, pixels)
            written: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError:
            return pixels  # a cache that cannot be written costs time, not results
        return written


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an array in one move, so that no reader sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, pixels)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def open_split(name: str) -> Split:
    """Open a split by name. Raises DataError for an unknown one."""
    if name not in LAYOUTS:
        raise DataError(f"Unknown built-in split {name!r}. Available: {', '.join(LAYOUTS)}.")
    return Split(name, LAYOUTS[name])
