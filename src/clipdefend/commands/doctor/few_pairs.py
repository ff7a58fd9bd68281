"""A small sample of other pairs, for trial runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from clipdefend.data.pairs import Pairs


@dataclass
class FewPairs(Pairs):
    """Some rows of other pairs, renumbered from 0.

    Args:
        base: the pairs.
        chosen: rows of ``base``.
    """

    base: Pairs
    chosen: Sequence[int]

    def __post_init__(self) -> None:
        self.spec, self.recognised, self.fingerprint = (
            self.base.spec,
            self.base.recognised,
            self.base.fingerprint,
        )
        self.skipped, self.skip_reasons = self.base.skipped, self.base.skip_reasons

    @classmethod
    def spread(cls, base: Pairs, count: int) -> FewPairs:
        """Return at most ``count`` rows, spread evenly over the pairs."""
        count = min(count, len(base))
        return cls(base, [number * len(base) // count for number in range(count)])

    def __len__(self) -> int:
        return len(self.chosen)

    def caption(self, row: int) -> str:
        return self.base.caption(self.chosen[row])

    def image(self, row: int) -> Image.Image:
        return self.base.image(self.chosen[row])

    def image_ref(self, row: int) -> str:
        return self.base.image_ref(self.chosen[row])
