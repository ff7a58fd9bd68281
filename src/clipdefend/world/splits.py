"""Splits of the built-in world, and the cache of their pixels."""

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

VERSION = 1
"""Version of the scenes. Raise it with every change to a pixel or a word, or stale caches are read."""
CACHED = 20_000
"""Largest number of scenes that are cached; those of larger splits are drawn when they are read."""


@dataclass(frozen=True)
class Layout:
    """Which scenes a split holds.

    Attributes:
        first: number of its first scene among all scenes.
        size: number of scenes.
        labelled: whether each scene shows a single thing, of the class that is its label.
    """

    first: int
    size: int
    labelled: bool = False


# Far apart, so that splits can grow without sharing a scene.
LAYOUTS: dict[str, Layout] = {
    "train": Layout(first=0, size=20_000),
    "eval": Layout(first=1 << 32, size=2_000, labelled=True),
    "pretrain": Layout(first=1 << 33, size=100_000),
}


def cache_folder() -> Path | None:
    """Return the folder of the cache.

    Returns:
        ``$CLIPDEFEND_CACHE``, else ``clipdefend`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; None for a user without a
        home folder, as in some containers.
    """
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
    """Scenes of the built-in world, with captions and, in "eval", labels.

    The pixels of splits of up to ``CACHED`` scenes are drawn once and memory-mapped from then on. A split can be
    pickled, without its pixels, so that loader processes map the same file.

    Attributes:
        name: key of ``LAYOUTS``.
        layout: which scenes it holds.
    """

    name: str
    layout: Layout
    _pixels: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.layout.size

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "layout": self.layout, "_pixels": None}

    def _compose(self, index: int) -> tuple[Scene, Dice]:
        """Return a scene, and its dice as the drawing needs them."""
        if not 0 <= index < len(self):
            raise IndexError(f"Scene {index} is out of range: the split has {len(self)}.")
        dice = Dice(counter_draws(self.layout.first + index, 1)[0])
        return compose(dice, label=self.label(index) if self.layout.labelled else None), dice

    def label(self, index: int) -> int:
        """Return the class of a scene of a labelled split; the classes take turns."""
        return index % len(CLASSES)

    def caption(self, index: int) -> str:
        """Return the caption of a scene. Raises IndexError."""
        return caption(self._compose(index)[0])

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of a scene, RGB, shape (64, 64, 3)."""
        if self.layout.size > CACHED:
            return draw(*self._compose(index))
        if self._pixels is None:
            self._pixels = self._open_cache()
        image: NDArray[np.uint8] = self._pixels[index]
        return image

    def image(self, index: int) -> Image.Image:
        """Return a scene as an image, 64 x 64 pixels."""
        return Image.fromarray(self.pixels(index))

    def draw_all(self) -> NDArray[np.uint8]:
        """Draw all scenes anew, past the cache: RGB, shape (n, 64, 64, 3)."""
        draws = counter_draws(self.layout.first, len(self))
        pixels = np.empty((len(self), SIZE, SIZE, 3), dtype=np.uint8)
        for index, row in enumerate(draws):
            dice = Dice(row)
            scene = compose(dice, label=self.label(index) if self.layout.labelled else None)
            pixels[index] = draw(scene, dice)
        return pixels

    def _open_cache(self) -> NDArray[np.uint8]:
        """Map the cached pixels of all scenes, drawing them first where that is needed."""
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
            pass  # missing or damaged: draw it again
        pixels = self.draw_all()
        try:
            _write(path, pixels)
            written: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError:
            return pixels  # without a cache the program is slower, and right all the same
        return written


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an array atomically: other processes read the same file and must never see half of it."""
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
    """Open a split by its name in ``LAYOUTS``. Raises DataError for an unknown one."""
    if name not in LAYOUTS:
        raise DataError(f"Unknown built-in split {name!r}. Available: {', '.join(LAYOUTS)}.")
    return Split(name, LAYOUTS[name])
