"""Pairs that are in memory, some of them bad, and that count how often an image is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from clipdefend.data.decode import ImageError
from clipdefend.data.pairs import Pairs

WORDS = ("cat", "dog", "house", "banana", "fish", "tree")


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Smooth noise, so that resizing keeps something of it."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


@dataclass
class MemoryPairs(Pairs):
    """Row r is the picture ``noise(r)`` with the caption ``texts[r]``."""

    texts: list[str]
    bad: set[int] = field(default_factory=set)
    asked: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.spec = "memory"
        self.recognised = f"{len(self.texts)} rows in memory"
        self.fingerprint = "memory-1"

    def __len__(self) -> int:
        return len(self.texts)

    def caption(self, row: int) -> str:
        return self.texts[row]

    def image(self, row: int) -> Image.Image:
        self.asked[row] += 1
        if row in self.bad:
            raise ImageError(f"Row {row} of memory: cannot be decoded")
        return noise(row)

    def image_ref(self, row: int) -> str:
        return f"memory/{row}.jpg"


def memory_pairs(size: int, bad: set[int] | None = None) -> MemoryPairs:
    """Pairs with captions such as "a photo of a cat, number 12"."""
    texts = [f"a photo of a {WORDS[row % len(WORDS)]}, number {row}" for row in range(size)]
    return MemoryPairs(texts, bad or set())
