"""Filter runs in a report: ROC curves where the truth is known, and the most suspicious pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from clipdefend.errors import RunError
from clipdefend.report.collect import Fault, RunCollection
from clipdefend.report.escape import slug, tidy
from clipdefend.report.illustrations import Plot, Preview, read_png
from clipdefend.report.plots import WIDTH
from clipdefend.report.style import COLOURS, LINES, Picture, Theme, draw_picture, shorten
from clipdefend.runs import FilterDetails, Run

CURVES, SHEET = "curves.json", "suspects.png"
"""Files of a filter run."""
MAX_CURVES_BYTES = 1 << 20
Curves = Mapping[str, tuple[list[float], list[float]]]
"""Score -> false and true positive rates, ascending."""


def filter_pictures(collection: RunCollection) -> tuple[list[Plot | Preview], list[Fault]]:
    """Return the pictures of each filter run, and faults for those whose files cannot be shown."""
    found: list[Plot | Preview] = []
    faults: list[Fault] = []
    for run in collection.runs:
        if run.command != "filter":
            continue
        place = collection.place(run)
        for draw, name in ((_curves, CURVES), (_sheet, SHEET)):
            if not any(entry["path"] == name for entry in run.manifest["outputs"]):
                continue
            try:
                found.append(draw(run, place))
            except (RunError, OSError, ValueError, RecursionError) as error:
                faults.append(Fault(run.name, f"no picture of its {name}: {tidy(str(error), 300)}"))
    return found, faults


def _curves(run: Run, place: str) -> Plot:
    curves = _read_curves(run)
    words = []
    for name in curves:
        value = run.metrics.get(f"{name}_auroc")
        words.append(f"{name} {value:.3f}" if isinstance(value, float) else name)
    truth = FilterDetails.of(run).truth
    told = f"AUROC: {', '.join(words)}"
    return Plot(
        f"roc-{slug(place)}",
        f"{tidy(place)}: share of the poisoned pairs found against share of the clean ones flagged with them, by"
        f" what {tidy(str(truth))} says of its rows. {tidy(told, 400)}.",
        f"ROC curves of the scores of {tidy(place)}. {tidy(told, 400)}.",
        _draw(curves),
    )


def _read_curves(run: Run) -> Curves:
    """The curves of a run. Raises RunError for anything else than rates."""
    path = run.output(CURVES)
    if path.stat().st_size > MAX_CURVES_BYTES:
        raise RunError(f"the file is larger than {MAX_CURVES_BYTES >> 20} MB")
    record = json.loads(path.read_bytes())
    found = {}
    for name, curve in record.items() if isinstance(record, dict) else ():
        false, true = (_rates(curve, side) for side in ("false", "true"))
        if len(false) != len(true):
            raise RunError("it holds curves with unequal sides")
        found[tidy(str(name), 40)] = (false, true)
    if not found:
        raise RunError("it holds no curves")
    return found


def _rates(curve: Any, side: str) -> list[float]:
    values = curve.get(side) if isinstance(curve, dict) else None
    if not isinstance(values, list) or not all(map(_is_rate, values)):
        raise RunError("it holds other things than rates")
    return values


def _is_rate(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= 1


def _draw(curves: Curves) -> Picture:
    def draw(figure: Any, theme: Theme) -> None:
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color=theme.ink, linestyle=":", linewidth=0.8)
        for number, (name, (false, true)) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            line = LINES[number // len(COLOURS) % len(LINES)]
            axes.plot(
                [100 * x for x in false],
                [100 * y for y in true],
                color=colour,
                linestyle=line,
                linewidth=1.5,
                label=shorten(name),
            )
        axes.set_xlabel("clean pairs flagged (%)")
        axes.set_ylabel("poisoned pairs found (%)")
        figure.legend(loc="outside lower center", ncols=4)

    return draw_picture(draw, WIDTH, 3.9)


def _sheet(run: Run, place: str) -> Preview:
    png = read_png(run, SHEET)
    flagged, rows = run.metrics.get("n_flagged"), run.metrics.get("n_rows")
    name = tidy(FilterDetails.of(run).decided_by)
    return Preview(
        f"suspects-{slug(place)}",
        f"{tidy(place)}: the pairs with the largest {name}, poisoned ones in red; {flagged} of {rows} are flagged.",
        f"The most suspicious pairs of {tidy(place)} with their captions.",
        png,
    )
