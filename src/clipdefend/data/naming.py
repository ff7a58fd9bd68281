"""Captions that name a class."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from clipdefend.data.pairs import Pairs


def target_pattern(target: str) -> re.Pattern[str]:
    """The target as a whole word in any case, singular or with a regular plural."""
    stem = re.escape(target.strip()).replace(r"\ ", r"\s+")
    changed = re.sub("(y|fe?)$", lambda end: "ies" if end[0] == "y" else "ves", stem)
    return re.compile(rf"(?<!\w)(?:{changed}|{stem}(?:e?s)?)(?!\w)", re.IGNORECASE)


def naming(pairs: Pairs, target: str) -> NDArray[np.int64]:
    """Rows whose caption names the target, ascending."""
    pattern = target_pattern(target)
    rows = [
        start + offset
        for start, captions in pairs.iter_captions()
        for offset, caption in enumerate(captions)
        if pattern.search(caption)
    ]
    return np.array(rows, dtype=np.int64)
