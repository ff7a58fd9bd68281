"""A picture of the most suspicious pairs."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipdefend.canvas import Canvas
from clipdefend.commands.filter.outcome import Suspect
from clipdefend.console import one_line
from clipdefend.data.pairs import Pairs
from clipdefend.errors import DataError
from clipdefend.runs.files import atomic_write

COLUMNS = 6
SIDE = 160
"""Side of a thumbnail in pixels."""
WIDTH, LINES = 26, 3
"""Number of characters per line of a caption, and number of lines."""
RED, GREY = "#D55E00", "#1b1f24"


def write_sheet(path: Path, pairs: Pairs, suspects: Sequence[Suspect], canvas: Canvas, title: str) -> None:
    """Draw pairs with their captions, rows and scores, and in red those that are known to be poisoned.

    Args:
        path: path of the PNG.
        pairs: source of the rows.
        suspects: at least one, the most suspicious first.
        canvas: geometry of the thumbnails, so that they show what the model sees.
        title: title of the picture.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(suspects) / COLUMNS)
    out = io.BytesIO()
    with rc_context({"text.parse_math": False, "font.family": "DejaVu Sans"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters in captions that the font lacks
        figure = Figure(figsize=(1.75 * COLUMNS, 2.45 * rows + 0.45), dpi=110)
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, suspect in zip(grid, suspects, strict=False):
            _draw(axes, pairs, suspect, canvas)
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
        top = 1 - 0.45 / figure.get_figheight()
        figure.subplots_adjust(
            left=0.01, right=0.99, bottom=0.09 / rows + 0.07, top=top, wspace=0.08, hspace=0.55
        )
        figure.savefig(out, format="png", metadata={"Software": None})
    atomic_write(path, out.getvalue())


def _draw(axes: Any, pairs: Pairs, suspect: Suspect, canvas: Canvas) -> None:
    try:
        axes.imshow(canvas.picture(pairs.image(suspect.row)).resize((SIDE, SIDE)))
    except DataError:  # it could be read a moment ago
        axes.text(0.5, 0.5, "cannot be read", ha="center", fontsize=7)
    mark = " poisoned" if suspect.poisoned else ""
    heading = f"row {suspect.row:,}: {suspect.score:.4g}{mark}{'' if suspect.flagged else ' (kept)'}"
    axes.set_title(heading, fontsize=7, color=RED if suspect.poisoned else GREY, pad=2)
    lines = textwrap.wrap(one_line(pairs.caption(suspect.row))[:200], WIDTH) or [""]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"{lines[LINES - 1][: WIDTH - 1]}…"]
    axes.text(0, -0.03, "\n".join(lines), transform=axes.transAxes, fontsize=6.5, va="top", color=GREY)
