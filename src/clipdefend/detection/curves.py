"""How well scores separate positives from negatives: ROC curve, AUROC and average precision with bootstrap intervals.

These figures depend only on how many negatives lie between two positives. So negatives are counted as they stream by,
in memory that grows with the positives alone, and the bootstrap draws from the counts; scikit-learn's functions would
need all scores at once, in every draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipdefend.draws import generator

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
DRAWS = 1000


class Estimate(NamedTuple):
    """A figure from 0 to 1 with its 95 % interval."""

    value: float
    low: float
    high: float

    def flat(self, name: str) -> dict[str, float]:
        """Return the metrics ``name``, ``name_low`` and ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


class _Counted(NamedTuple):
    """Numbers of positives and negatives by score, from the smallest.

    Attributes:
        positive: at each of m distinct scores of positives, shape (m,).
        equal: negatives at the same scores, shape (m,).
        between: negatives below the first, between two, and above the last, shape (m + 1,).
    """

    positive: Counts
    equal: Counts
    between: Counts


@dataclass
class Curve:
    """Counts from which all figures are computed.

    Attributes:
        levels: the distinct scores of the positives, ascending, shape (m,).
        counted: numbers of positives and negatives at and between them.
    """

    levels: Floats
    counted: _Counted

    @classmethod
    def of(cls, positives: Floats) -> Curve:
        """Return a curve without negatives.

        Args:
            positives: scores of at least one positive, finite, shape (p,).
        """
        levels, counts = np.unique(np.asarray(positives, np.float64), return_counts=True)
        zeros = np.zeros(len(levels), np.int64)
        return cls(levels, _Counted(counts.astype(np.int64), zeros, np.zeros(len(levels) + 1, np.int64)))

    def add_negatives(self, scores: Floats) -> None:
        """Count negatives. Any number of calls in any order gives the same curve."""
        places = np.searchsorted(self.levels, scores)
        same = self.levels[np.minimum(places, len(self.levels) - 1)] == scores
        self.counted.equal[:] += np.bincount(places[same], minlength=len(self.levels))
        self.counted.between[:] += np.bincount(places[~same], minlength=len(self.levels) + 1)

    def auroc(self, seed: int, draws: int = DRAWS) -> Estimate:
        """Return the probability that a positive has a larger score than a negative; a tie counts half."""
        return self._estimate(_auroc, seed, draws)

    def average_precision(self, seed: int, draws: int = DRAWS) -> Estimate:
        """Return the mean over the positives of the precision among all scores at least as large as theirs."""
        return self._estimate(_average_precision, seed, draws)

    def roc(self) -> tuple[Floats, Floats]:
        """Return false and true positive rates, ascending from (0, 0) to (1, 1), at the corners of the curve."""
        counted = self.counted
        hits = np.cumsum(counted.positive[::-1])
        above = np.cumsum(counted.between[:0:-1])
        ties = np.cumsum(counted.equal[::-1])
        before = above + ties - counted.equal[::-1]  # false positives just above each level
        false = np.stack([before, above + ties], axis=1).ravel()
        true = np.stack([hits - counted.positive[::-1], hits], axis=1).ravel()
        total = max(1, int(counted.equal.sum() + counted.between.sum()))
        return np.r_[0.0, false / total, 1.0], np.r_[0.0, true / hits[-1], 1.0]

    def _estimate(self, figure: Callable[[_Counted], float], seed: int, draws: int) -> Estimate:
        """Return a figure with the 2.5 % and 97.5 % quantiles of a bootstrap that draws both kinds separately."""
        negatives = np.r_[self.counted.equal, self.counted.between]
        if not negatives.any():
            return Estimate(float("nan"), float("nan"), float("nan"))
        drawing, count = generator(seed, "bootstrap"), len(self.levels)
        found = []
        for _ in range(draws):
            positive = _drawn(drawing, self.counted.positive)
            negative = _drawn(drawing, negatives)
            found.append(figure(_Counted(positive, negative[:count], negative[count:])))
        low, high = np.quantile(found, (0.025, 0.975))
        return Estimate(figure(self.counted), float(low), float(high))


def _drawn(drawing: np.random.Generator, counts: Counts) -> Counts:
    """Return the counts of as many items drawn with replacement."""
    total = int(counts.sum())
    return drawing.multinomial(total, counts / total)


def _auroc(counted: _Counted) -> float:
    below = np.cumsum(counted.between[:-1]) + np.cumsum(counted.equal) - counted.equal
    won = float((counted.positive * (below + counted.equal / 2)).sum())
    return won / (float(counted.positive.sum()) * float(counted.equal.sum() + counted.between.sum()))


def _average_precision(counted: _Counted) -> float:
    hits = np.cumsum(counted.positive[::-1])
    false = np.cumsum(counted.between[:0:-1]) + np.cumsum(counted.equal[::-1])
    precision = hits / np.maximum(hits + false, 1)
    return float((counted.positive[::-1] * precision).sum() / hits[-1])
