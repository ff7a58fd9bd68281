"""Finds the captions that name a class."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from clipdefend.augment.inflect import plural
from clipdefend.data.pairs import Pairs


def target_pattern(target: str) -> re.Pattern[str]:
    """Return a pattern that matches the target as a whole word, in any case, in the singular or plural."""
    name = target.strip()
    changed = re.sub("(y|fe?)$", lambda end: "ies" if end[0] == "y" else "ves", name)
    one, *plurals = (re.escape(form).replace(r"\ ", r"\s+") for form in (name, changed, plural(name.lower())))
    return re.compile(rf"(?<!\w)(?:{'|'.join(plurals)}|{one}(?:e?s)?)(?!\w)", re.IGNORECASE)


def rows_naming(pairs: Pairs, target: str) -> NDArray[np.int64]:
    """Return the rows whose caption names the target, ascending, int64, shape (n,)."""
    pattern = target_pattern(target)
    rows = [
        start + offset
        for start, captions in pairs.iter_captions()
        for offset, caption in enumerate(captions)
        if pattern.search(caption)
    ]
    return np.array(rows, dtype=np.int64)
