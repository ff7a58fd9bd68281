"""Confidence intervals of shares."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share, within [0, 1]; (NaN, NaN) for n = 0.

    Args:
        successes: from 0 to n.
        n: number of trials.

    Returns:
        The lower and the upper bound.

    Raises:
        ValueError: successes outside 0 to n.

    Reference: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials is impossible")
    if n == 0:
        return math.nan, math.nan
    share = successes / n
    z2 = Z95**2 / n
    centre = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n)) / (1 + z2)
    # At the ends the bound is exactly 0 or 1 in algebra, but not in floating point.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high
