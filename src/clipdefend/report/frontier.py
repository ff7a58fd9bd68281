"""The frontier: the best accuracy at each bound on attack success, over all epochs of a group of runs.

Reference: the scatter plots of "Effective Backdoor Mitigation in Vision-Language Models Depends on the Pre-training
Objective" (arXiv:2311.14948), which show a point for each epoch of each run; the bounds are ours.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipdefend.report.collect import Epoch
from clipdefend.report.escape import csv_cell, escape_markdown, percent
from clipdefend.report.plots import Track, group_name

LIMITS = (0.001, 0.01, 0.05, 0.10, 0.20, 0.50)
"""Bounds on ASR@1, as fractions."""

# Shares are numbers of images divided by their total: equal ones may differ in the last bit.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Point:
    """The best epoch under one bound.

    Attributes:
        limit: the largest ASR@1 allowed.
        ba, asr: of the epoch, at k = 1.
        drop: BA@1 of the run's victim (epoch 0) less ``ba``; None where the run did not record its victim.
        run: position of the run in the group.
        epoch: number of the epoch.
    """

    limit: float
    ba: float
    asr: float
    drop: float | None
    run: int
    epoch: float


@dataclass(frozen=True)
class Success:
    """How many runs and epochs lie in the region of success.

    Attributes:
        runs, epochs: numbers of runs with an epoch in the region, and of such epochs.
        of_runs, of_epochs: numbers of all runs and epochs whose victim is known.
    """

    runs: int
    epochs: int
    of_runs: int
    of_epochs: int


@dataclass(frozen=True)
class Group:
    """The frontier of all runs of one attack and defence, whatever their seeds and what a defender chooses.

    Attributes:
        attack: its name.
        defence: its name, with the condition that sets it apart.
        points: one for each of ``LIMITS``.
        success: counts of the region of success.
    """

    attack: str
    defence: str
    points: tuple[Point | None, ...]
    success: Success


def frontier(runs: Sequence[Sequence[Epoch]], limits: Sequence[float] = LIMITS) -> tuple[Point | None, ...]:
    """Return the epoch with the largest BA@1 among those whose ASR@1 is at most each limit.

    Of equal accuracies the lower ASR wins, then the earlier run and epoch.

    Args:
        runs: the epochs of each run; epoch 0 is the victim, which is not a candidate.
        limits: bounds on ASR@1, fractions.

    Returns:
        A point for each limit; None where no epoch meets it.
    """
    candidates = [
        Point(0.0, ba, asr, None if victim is None else victim - ba, position, epoch.number)
        for position, run in enumerate(runs)
        for victim in [_victim(run)]
        for epoch, ba, asr in _trained_epochs(run)
    ]
    found: list[Point | None] = []
    for limit in limits:
        allowed = [point for point in candidates if point.asr <= limit + _TOLERANCE]
        best = max(allowed, key=lambda p: (p.ba, -p.asr, -p.run, -p.epoch), default=None)
        found.append(best and Point(limit, best.ba, best.asr, best.drop, best.run, best.epoch))
    return tuple(found)


def count_successes(runs: Sequence[Sequence[Epoch]], ba_budget: float, asr_limit: float) -> Success:
    """Count the runs and epochs in the region of success.

    Args:
        runs: the epochs of each run; those without epoch 0, the victim, are left out.
        ba_budget: largest loss of BA@1 against the victim, as a fraction.
        asr_limit: largest ASR@1, as a fraction.
    """
    known = [(victim, run) for run in runs for victim in [_victim(run)] if victim is not None]
    inside = [
        sum(
            ba >= victim - ba_budget - _TOLERANCE and asr <= asr_limit + _TOLERANCE
            for _, ba, asr in _trained_epochs(run)
        )
        for victim, run in known
    ]
    return Success(
        runs=sum(count > 0 for count in inside),
        epochs=sum(inside),
        of_runs=len(known),
        of_epochs=sum(len(_trained_epochs(run)) for _, run in known),
    )


def group_frontiers(tracks: Mapping[str, Sequence[Track]], ba_budget: float, asr_limit: float) -> list[Group]:
    """Return the frontier of every defence against every attack, under each condition.

    Args:
        tracks: attack -> tracks of its defences.
        ba_budget, asr_limit: see ``count_successes``.
    """
    found = []
    for attack, each in tracks.items():
        for base, condition in dict.fromkeys((track.base, track.condition) for track in each):
            alike = [track for track in each if (track.base, track.condition) == (base, condition)]
            runs = [run for track in alike for run in track.runs]
            name = group_name(base, condition)
            found.append(Group(attack, name, frontier(runs), count_successes(runs, ba_budget, asr_limit)))
    return found


def frontier_csv(found: Sequence[Group]) -> str:
    """Format frontiers as CSV: a line for each group and limit, with shares as fractions; unknown cells are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = ["runs_inside", "runs", "epochs_inside", "epochs"]
    writer.writerow(["attack", "defence", "asr_limit", "ba", "asr", "drop", "epoch", *counts])
    for group in found:
        inside = group.success
        names = [csv_cell(group.attack), csv_cell(group.defence)]
        for limit, point in zip(LIMITS, group.points, strict=True):
            values = [point.ba, point.asr, point.drop, point.epoch] if point else [None] * 4
            writer.writerow(
                [*names, limit, *values, inside.runs, inside.of_runs, inside.epochs, inside.of_epochs]
            )
    return out.getvalue()


def frontier_lines(found: Sequence[Group]) -> list[list[str]]:
    """Return the cells of a table: attack, defence, a figure in percent for each limit, counts of the region."""
    return [
        [group.attack, group.defence, *map(_text, group.points), _inside(group.success)] for group in found
    ]


def frontier_heads() -> list[str]:
    """Return the column heads of ``frontier_lines``."""
    return ["attack", "defence", *(f"ASR@1 ≤ {100 * limit:g} %" for limit in LIMITS), "success"]


def frontier_markdown(found: Sequence[Group]) -> str:
    """Format frontiers as a Markdown table."""
    heads = frontier_heads()
    rows = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    rows += [[*map(escape_markdown, line[:2]), *line[2:]] for line in frontier_lines(found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _text(point: Point | None) -> str:
    if point is None:
        return "-"
    if point.drop is None:
        return percent(point.ba)
    return f"{percent(point.ba)} ({round(-100 * point.drop, 1) + 0.0:+.1f})"  # + 0.0 makes 0.0 of -0.0


def _inside(inside: Success) -> str:
    return f"{inside.runs} of {inside.of_runs} runs, {inside.epochs} of {inside.of_epochs} epochs"


def _victim(run: Sequence[Epoch]) -> float | None:
    """Return the BA@1 of epoch 0; None where the run did not record it."""
    return next((epoch.values["ba@1"] for epoch in run if epoch.number == 0 and "ba@1" in epoch.values), None)


def _trained_epochs(run: Sequence[Epoch]) -> list[tuple[Epoch, float, float]]:
    """Return the epochs after the victim's that have both figures, with BA@1 and ASR@1."""
    return [
        (epoch, epoch.values["ba@1"], epoch.values["asr@1"])
        for epoch in run
        if epoch.number > 0 and {"ba@1", "asr@1"} <= epoch.values.keys()
    ]
