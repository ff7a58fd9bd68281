"""Labelled images without files."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from clipdefend.data.decode import ImageError
from clipdefend.data.labelled.labelled_images import LabelledImages
from memory_pairs import noise

CLASSES = ["cat", "red  banana", "house"]


@dataclass(kw_only=True)
class NoisyImages(LabelledImages):
    """Row r is the noise of seed r, larger than the canvas."""

    bad: set[int] = field(default_factory=set)

    def _decode(self, row: int) -> Image.Image:
        if row in self.bad:
            raise ImageError("cannot be decoded")
        return noise(row)

    def image_ref(self, row: int) -> str:
        return f"{row}.png"
