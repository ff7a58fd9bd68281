"""Selects the largest scores of a stream that does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DIGIT = 16


def kth_largest(parts: Callable[[], Iterable[Floats]], k: int) -> float:
    """Return the k-th largest of many scores, exactly, in four passes and bounded memory.

    Radix selection: each pass counts scores by their next 16 bits, among those that agree with the bits found so far.
    The bits of float64 values sort like the numbers once those of negative ones are inverted.

    Args:
        parts: yields all scores in parts, each time it is called; none may be NaN.
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
    """Return integers that sort like the scores; 0 and -0 are equal."""
    bits = (np.ascontiguousarray(scores, np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _numbers(keys: NDArray[np.uint64]) -> Floats:
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)


class Flagging:
    """Flags the k largest scores of a stream; among equal scores, those that come first.

    Args:
        parts: as for ``kth_largest``.
        count: number of scores to flag.
    """

    def __init__(self, parts: Callable[[], Iterable[Floats]], count: int) -> None:
        self.limit = kth_largest(parts, count) if count else np.inf
        self._ties = count - sum(int((part > self.limit).sum()) for part in parts()) if count else 0

    def __call__(self, part: Floats) -> NDArray[np.bool_]:
        """Return which scores of the next part are flagged; parts must come in the same order as before."""
        equal = part == self.limit
        taken = equal & (np.cumsum(equal) <= self._ties)
        self._ties -= int(taken.sum())
        flags: NDArray[np.bool_] = (part > self.limit) | taken
        return flags
