"""Which scores are the largest, of a stream that memory does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DIGIT = 16


def kth_largest(parts: Callable[[], Iterable[Floats]], k: int) -> float:
    """Return the k-th largest of many scores, exactly, in four passes and bounded memory.

    A radix selection: each pass counts the scores by their next 16 bits, among those that agree with the answer so
    far. Bits of a float64 order as the numbers do once negative ones are turned round.

    Args:
        parts: gives all scores, in parts, as often as it is called; none is NaN.
        k: from 1 to the number of scores.
    """
    known, shift = np.uint64(0), 64
    while shift:
        shift -= DIGIT
        counts = np.zeros(1 << DIGIT, np.int64)
        for part in parts():
            keys = _ordered(part) >> np.uint64(shift)
            same = keys >> np.uint64(DIGIT) == known
            digits = keys[same] & np.uint64((1 << DIGIT) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << DIGIT)
        above = counts[::-1].cumsum()
        place = int(np.searchsorted(above, k))
        k -= int(above[place - 1]) if place else 0
        known = (known << np.uint64(DIGIT)) | np.uint64((1 << DIGIT) - 1 - place)
    return float(_numbers(np.array([known]))[0])


_SIGN = np.uint64(1 << 63)


def _ordered(scores: Floats) -> NDArray[np.uint64]:
    """Whole numbers that order as the scores do; 0 and -0 are one number."""
    bits = (np.ascontiguousarray(scores, np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _numbers(keys: NDArray[np.uint64]) -> Floats:
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)


class Flagging:
    """Flags the k largest scores of a stream; of equal ones those that come first.

    Args:
        parts: as for ``kth_largest``.
        count: number of scores to flag.
    """

    def __init__(self, parts: Callable[[], Iterable[Floats]], count: int) -> None:
        self.limit = kth_largest(parts, count) if count else np.inf
        self._ties = count - sum(int((part > self.limit).sum()) for part in parts()) if count else 0

    def __call__(self, part: Floats) -> NDArray[np.bool_]:
        """Return which scores of the next part are flagged; the parts come in the same order as before."""
        equal = part == self.limit
        taken = equal & (np.cumsum(equal) <= self._ties)
        self._ties -= int(taken.sum())
        flags: NDArray[np.bool_] = (part > self.limit) | taken
        return flags
