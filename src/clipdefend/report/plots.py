"""Plots of the figures in each epoch, of accuracy against attack success, and of ablations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clipdefend.report.collect import Epoch
from clipdefend.report.recipe import format_value
from clipdefend.report.rows import Figure
from clipdefend.report.style import VERMILLION, Look, Picture, Theme, assign_looks, draw_picture, shorten
from clipdefend.report.sweeps import Sweep

WIDTH = 4.7
"""Width of every plot, in inches."""
STAR = VERMILLION
TWO_COLUMNS = 24
"""Longest name in a legend of two columns, in characters."""
MOST_NAMES = 12
"""Rows that a plot names one by one; of more it names defences and conditions."""


@dataclass(frozen=True)
class Track:
    """The epochs of the runs in one row of a table.

    Attributes:
        name: of the defence, with the settings that distinguish it from others.
        base: the defence's name alone.
        runs: the epochs of each seed's run, ascending; epoch 0 is the victim.
        condition: what the defender does not choose and other runs of the defence differ in, such as "keep_poison=5".
    """

    name: str
    base: str
    runs: tuple[tuple[Epoch, ...], ...]
    condition: str = ""


def group_name(base: str, condition: str) -> str:
    """Return the name of a defence under a condition."""
    return f"{base} ({condition})" if condition else base


@dataclass(frozen=True)
class Region:
    """The region of success.

    Attributes:
        ba_budget: largest loss of BA@1 against the victim, as a fraction.
        asr_limit: largest ASR@1, as a fraction.
    """

    ba_budget: float
    asr_limit: float


def plot_epochs(tracks: Sequence[Track], labels: Mapping[str, str]) -> Picture:
    """Plot figures over the epochs, one panel above the other; thin lines are single seeds, the thick one their mean.

    Args:
        tracks: of one attack.
        labels: key of the records -> label of its axis; with a "%" in the label, fractions are drawn in percent.
    """
    tracks = _told_apart(tracks)
    styles = _styles(tracks)

    def draw(figure: Any, theme: Theme) -> None:
        panels = figure.subplots(len(labels), 1, sharex=True)
        for axes, (key, label) in zip(panels, labels.items(), strict=True):
            for track in tracks:
                _draw_track(axes, track, key, styles[track.name], 100 if "%" in label else 1)
            axes.set_ylabel(label)
            if key.startswith("asr"):
                axes.set_ylim(-3, 103)
        panels[-1].set_xlabel("epoch of the defence (0 = victim)")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
        figure.align_ylabels(panels)
        _legend(figure, list(styles.items()))

    panel = 1.8 if len(labels) < 3 else 1.2
    return draw_picture(draw, WIDTH, 0.6 + panel * len(labels) + _legend_height([*styles]))


def _draw_track(axes: Any, track: Track, key: str, look: Look, unit: float) -> None:
    lines = [[(e.number, unit * e.values[key]) for e in run if key in e.values] for run in track.runs]
    lines = [line for line in lines if line]
    for line in lines if len(lines) > 1 else []:
        axes.plot(*zip(*line, strict=True), color=look.colour, linestyle=look.line, linewidth=0.7, alpha=0.45)
    by_epoch: dict[float, list[float]] = {}
    for line in lines:
        for number, value in line:
            by_epoch.setdefault(number, []).append(value)
    if by_epoch:
        x = sorted(by_epoch)
        y = [math.fsum(by_epoch[number]) / len(by_epoch[number]) for number in x]
        axes.plot(
            x, y, color=look.colour, linestyle=look.line, marker=look.marker, markersize=5, linewidth=1.7
        )


def accuracy_limits(tracks: Sequence[Track], k: int) -> tuple[float, float]:
    """Return limits for a BA@k axis, in percent, that fits every epoch of all tracks."""
    values = [
        100 * epoch.values[f"ba@{k}"]
        for track in tracks
        for run in track.runs
        for epoch in run
        if f"ba@{k}" in epoch.values
    ]
    low, high = min(values, default=0.0), max(values, default=100.0)
    margin = max(1.0, 0.05 * (high - low))
    return low - margin, high + margin


def plot_scatter(tracks: Sequence[Track], k: int, region: Region, limits: tuple[float, float]) -> Picture:
    """Plot BA@k against ASR@k: a point for each epoch of each run, larger for later ones, and a star for the victim.

    Args:
        tracks: of one attack.
        k: of both axes.
        region: its outline is drawn, relative to the mean of the victims.
        limits: of the BA axis, in percent; equal ones make plots comparable.
    """
    tracks = _told_apart(tracks)
    styles = _styles(tracks)
    ba, asr = f"ba@{k}", f"asr@{k}"

    def draw(figure: Any, theme: Theme) -> None:
        axes = figure.subplots()
        victims = set()
        for track in tracks:
            look = styles[track.name]
            for run in track.runs:
                points = [
                    (e.number, 100 * e.values[asr], 100 * e.values[ba])
                    for e in run
                    if {ba, asr} <= e.values.keys()
                ]
                victims |= {(x, y) for number, x, y in points if number == 0}
                _draw_path(axes, points, look)
        for x, y in sorted(victims):
            axes.plot(x, y, marker="*", markersize=17, color=STAR, markeredgecolor=theme.ink, zorder=5)
        if victims:
            least = math.fsum(y for _, y in victims) / len(victims) - 100 * region.ba_budget
            right = 100 * region.asr_limit
            axes.plot(
                [-4, right, right], [least, least, limits[1]], color=theme.ink, linestyle="--", linewidth=0.8
            )
        axes.set_xlim(-4, 104)
        axes.set_ylim(*limits)
        axes.set_xlabel(f"ASR@{k} (%), lower is better")
        axes.set_ylabel(f"BA@{k} (%), higher is better")
        _legend(figure, [("victim", Look(STAR, "*", "")), *((n, look) for n, look in styles.items())])

    return draw_picture(draw, WIDTH, 3.3 + _legend_height(["victim", *styles]))


def _draw_path(axes: Any, points: Sequence[tuple[float, float, float]], look: Look) -> None:
    if not points:
        return
    axes.plot(
        [x for _, x, _ in points],
        [y for _, _, y in points],
        color=look.colour,
        linewidth=0.7,
        alpha=0.4,
        zorder=2,
    )
    last = max(number for number, _, _ in points)
    for number, x, y in points:
        if number:
            size = 16 + 50 * number / last
            alpha = 0.35 + 0.6 * number / last
            axes.scatter(
                x, y, s=size, color=look.colour, marker=look.marker, alpha=alpha, linewidths=0, zorder=3
            )


def plot_ablation(sweep: Sweep, k: int) -> Picture:
    """Plot BA@k and ASR@k over the values of a swept setting, with intervals."""

    def draw(figure: Any, theme: Theme) -> None:
        axes = figure.subplots()
        values = [value for value, _ in sweep.points]
        places = values if sweep.is_numeric else list(range(len(values)))
        shares = {f"BA@{k}": Look("#0072B2", "o", "-"), f"ASR@{k}": Look(STAR, "s", "--")}
        for name, look in shares.items():
            found = [
                (place, row.figures[name.lower()])
                for place, (_, row) in zip(places, sweep.points, strict=True)
                if name.lower() in row.figures
            ]
            _errors(axes, found, look)
        if sweep.is_numeric and min(places) > 0 and max(places) >= 20 * min(places):
            axes.set_xscale("log")
        if not sweep.is_numeric or len(places) <= 6:
            axes.set_xticks(places, [shorten(format_value(value), 14) for value in values])
            axes.minorticks_off()
        axes.set_ylim(-3, 103)
        axes.set_xlabel(shorten(sweep.name))
        axes.set_ylabel("%")
        _legend(figure, list(shares.items()))

    return draw_picture(draw, WIDTH, 3.4)


def _errors(axes: Any, found: Sequence[tuple[Any, Figure]], look: Look) -> None:
    if not found:
        return
    y = [100 * figure.value for _, figure in found]
    spans = [(figure.value, figure.low, figure.high) for _, figure in found]
    below = [0.0 if low is None else 100 * max(0.0, value - low) for value, low, _ in spans]
    above = [0.0 if high is None else 100 * max(0.0, high - value) for value, _, high in spans]
    axes.errorbar(
        [place for place, _ in found],
        y,
        yerr=[below, above],
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=5,
        capsize=3,
        linewidth=1.5,
    )


def _told_apart(tracks: Sequence[Track]) -> Sequence[Track]:
    """Tracks by their own names, or, of more than a legend can hold, by defence and condition."""
    if len(tracks) <= MOST_NAMES:
        return tracks
    return [replace(track, name=group_name(track.base, track.condition)) for track in tracks]


def _styles(tracks: Sequence[Track]) -> Mapping[str, Look]:
    bases = {track.name: track.base for track in tracks}
    return assign_looks([*bases], [*bases.values()])


def _legend(figure: Any, entries: Sequence[tuple[str, Look]]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line or "none", markersize=6)
        for _, look in entries
    ]
    names = [shorten(name) for name, _ in entries]
    figure.legend(handles, names, loc="outside lower center", ncols=_columns(names))


def _columns(names: Sequence[str]) -> int:
    return 2 if all(len(name) <= TWO_COLUMNS for name in names) else 1


def _legend_height(names: Sequence[str]) -> float:
    return 0.22 * math.ceil(len(names) / _columns(names))
