"""Results of ``filter``: flags, figures if the truth is known, and the most suspicious pairs."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipdefend.commands.filter.judged_pairs import Truth
from clipdefend.commands.filter.judging import Floats, Spool
from clipdefend.config import FilterConfig
from clipdefend.detection.curves import Curve
from clipdefend.detection.top_share import Flagging
from clipdefend.intervals import wilson_interval
from clipdefend.report.filters import CURVES
from clipdefend.runs.files import atomic_write
from clipdefend.runs.flagged_rows import rows_writer

POINTS = 200
"""Largest number of points of a recorded ROC curve."""
SHOWN = 24
"""Number of pairs on the contact sheet."""


@dataclass(frozen=True)
class Suspect:
    """One of the most suspicious rows; ``poisoned`` is None if the truth is not known."""

    row: int
    score: float
    flagged: bool
    poisoned: bool | None


@dataclass
class Outcome:
    """Result of a run.

    Attributes:
        metrics: flat metrics for the manifest.
        suspects: the rows with the largest scores, the largest first.
        limit: the smallest flagged score; None if no row is flagged.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    suspects: list[Suspect] = field(default_factory=list)
    limit: float | None = None


def conclude(
    config: FilterConfig, names: Sequence[str], spool: Spool, truth: Truth | None, folder: Path
) -> Outcome:
    """Flag rows, write ``rows.parquet``, and compute figures if the truth is known.

    Args:
        config: configuration of the command.
        names: names of the scores, in the order of the spool's columns.
        spool: all scores.
        truth: which rows are known to be poisoned.
        folder: folder of the run.
    """
    total = sum(len(rows) for rows, _ in spool.parts())
    count = _flag_count(config, spool, total)
    outcome = _write(names, spool, count, truth, folder)
    outcome.metrics = {"n_rows": total, "n_flagged": count}
    if truth is not None and len(truth.poisoned):
        outcome.metrics |= _measure(config, names, spool, count, truth, folder)
    return outcome


def _flag_count(config: FilterConfig, spool: Spool, total: int) -> int:
    if config.threshold is not None:
        limit = config.threshold
        return sum(int((part > limit).sum()) for part in spool.column(0))
    return round((1 - (config.keep or 1)) * total)


def _write(names: Sequence[str], spool: Spool, count: int, truth: Truth | None, folder: Path) -> Outcome:
    """Write the table; the first score decides, and among equal scores the first rows are flagged."""
    flagging = Flagging(lambda: spool.column(0), count)
    largest: list[tuple[float, int, bool]] = []
    with rows_writer(folder, names) as write:
        for rows, scores in spool.parts():
            flags = flagging(np.ascontiguousarray(scores[:, 0]))
            write(rows, scores[:, 0], flags, *scores.T)
            top = np.argsort(-scores[:, 0], kind="stable")[:SHOWN]
            part = zip(scores[top, 0].tolist(), (-rows[top]).tolist(), flags[top].tolist(), strict=True)
            largest = heapq.nlargest(SHOWN, [*largest, *part])
    suspects = [
        Suspect(-row, score, flagged, None if truth is None else -row in truth.poisoned)
        for score, row, flagged in largest
    ]
    return Outcome(suspects=suspects, limit=float(flagging.limit) if count else None)


def _measure(
    config: FilterConfig, names: Sequence[str], spool: Spool, count: int, truth: Truth, folder: Path
) -> dict[str, float]:
    """Return AUROC, average precision and recall if each score flagged as many rows; write the curves to a file.

    Rows with the noise trigger of an attack such as WaNet are neither poisoned nor clean and are not counted.
    """
    found: dict[str, float] = {}
    curves = {}
    for place, name in enumerate(names):
        curve, caught = _count(spool, place, count, truth)
        if curve is None:
            continue
        found |= curve.auroc(config.seed).flat(f"{name}_auroc")
        found |= curve.average_precision(config.seed).flat(f"{name}_ap")
        poisoned = int(curve.counted.positive.sum())
        low, high = wilson_interval(caught, poisoned)
        found |= {f"{name}_recall": caught / poisoned, f"{name}_recall_low": low, f"{name}_recall_high": high}
        found["n_poisoned"] = poisoned
        curves[name] = _thinned(*curve.roc())
    atomic_write(folder / CURVES, json.dumps(curves) + "\n")
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _count(spool: Spool, place: int, count: int, truth: Truth) -> tuple[Curve | None, int]:
    """Return the curve of a score, and the number of poisoned rows among its largest values."""
    positives: list[Floats] = []
    for rows, scores in spool.parts():
        positives.append(scores[np.isin(rows, truth.poisoned), place])
    known = np.concatenate(positives)
    if not len(known):
        return None, 0
    curve = Curve.of(known)
    flagging = Flagging(lambda: spool.column(place), count)
    caught = 0
    for rows, scores in spool.parts():
        part = np.ascontiguousarray(scores[:, place])
        poisoned: NDArray[np.bool_] = np.isin(rows, truth.poisoned)
        caught += int((flagging(part) & poisoned).sum())
        curve.add_negatives(part[~poisoned & ~np.isin(rows, truth.cross)])
    return curve, caught


def _thinned(false: Floats, true: Floats) -> Mapping[str, Any]:
    """Thin a curve to at most ``POINTS`` points, both ends included."""
    places = np.unique(np.linspace(0, len(false) - 1, POINTS).round().astype(np.int64))
    return {"false": [round(x, 6) for x in false[places]], "true": [round(y, 6) for y in true[places]]}
