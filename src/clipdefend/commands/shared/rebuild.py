"""Rows that another run has flagged, as an array alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipdefend.commands.shared.exclusion import exclude_rows
from clipdefend.data.pairs import Pairs
from clipdefend.runs import Context


def excluded(context: Context, given: str, pairs: Pairs) -> NDArray[np.int64]:
    """Rows of pairs that a run has flagged, ascending."""
    return exclude_rows(context, given, pairs).rows
