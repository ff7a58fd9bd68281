"""Pairs without some of their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipdefend.data.pairs import Pairs


@dataclass
class RemainingPairs(Pairs):
    """Pairs without some of their rows; the remaining rows are renumbered from 0.

    Args:
        base: the pairs.
        without: rows of ``base`` to leave out.
    """

    base: Pairs
    without: NDArray[np.int64] = field(repr=False)

    def __post_init__(self) -> None:
        self.without = np.unique(self.without)
        if not len(self.without):
            self.fingerprint = self.base.fingerprint
        else:
            digest = hashlib.blake2b(self.without.astype("<i8").tobytes(), digest_size=8).hexdigest()
            self.fingerprint = f"{self.base.fingerprint}-{digest}"
        # The number of missing rows before remaining row r is that of the missing rows m_i with m_i - i <= r.
        self._shift = self.without - np.arange(len(self.without))
        self.spec = self.base.spec
        self.recognised = f"{self.base.recognised} without {len(self.without):,} rows"
        self.skipped, self.skip_reasons = self.base.skipped, self.base.skip_reasons

    def rest(self) -> RemainingPairs:
        """Return the pairs that were left out."""
        return RemainingPairs(self.base, np.delete(np.arange(len(self.base)), self.without))

    def __len__(self) -> int:
        return len(self.base) - len(self.without)

    def _row(self, row: int) -> int:
        return row + int(np.searchsorted(self._shift, row, side="right"))

    def prefetch(self, rows: Sequence[int]) -> None:
        self.base.prefetch([self._row(row) for row in rows])

    def image_digest(self, rows: Sequence[int]) -> str:
        return self.base.image_digest([self._row(row) for row in rows])

    def caption(self, row: int) -> str:
        return self.base.caption(self._row(row))

    def image(self, row: int) -> Image.Image:
        return self.base.image(self._row(row))

    def image_ref(self, row: int) -> str:
        return self.base.image_ref(self._row(row))
