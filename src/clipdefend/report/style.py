"""The look of plots: colours that the colour-blind can tell apart, a light and a dark theme, repeatable bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend.objectives import METHODS
from clipdefend.report.escape import tidy

# The palette of Okabe and Ito, Color Universal Design (2008), with a grey in place of black and yellow, which vanish
# on one of the two backgrounds. Vermillion is reserved for what is dangerous: the victim, triggered images, ASR.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILLION, PURPLE, SKY = "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#7a7f87"
COLOURS = (ORANGE, GREEN, PURPLE, BLUE, SKY, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", "--", "-.", ":")
LABEL = 44
"""Longest label in a legend, in characters."""


@dataclass(frozen=True)
class Theme:
    """Colours of the background, of text and of the grid, in hexadecimal RGB."""

    name: str
    ground: str
    ink: str
    grid: str


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#d5d9de")
DARK = Theme("dark", "#171a1f", "#e6e8eb", "#3a4048")


@dataclass(frozen=True)
class Picture:
    """A plot in the formats that a report needs.

    Attributes:
        svg, dark: SVG in the light and in the dark theme.
        png: PNG in the light theme.
        size: width and height on a page, in CSS pixels.
    """

    svg: bytes
    dark: bytes
    png: bytes
    size: tuple[int, int]


@dataclass(frozen=True)
class Look:
    """What distinguishes one line of a plot from the others; each of the three alone is meant to suffice.

    Attributes:
        colour: hexadecimal RGB.
        marker, line: matplotlib's names; an empty line draws markers alone.
    """

    colour: str
    marker: str
    line: str


Draw = Callable[[Any, Theme], None]
"""Draws on a matplotlib figure in a theme."""


def assign_looks(names: Sequence[str], bases: Sequence[str]) -> dict[str, Look]:
    """Return name -> look, such that a published method looks the same in every plot.

    Args:
        names: what is drawn.
        bases: the method that each is a variant of; variants differ in their markers and dashes.
    """
    order = list(dict.fromkeys([*METHODS, *bases]))
    found: dict[str, Look] = {}
    for position, (name, base) in enumerate(zip(names, bases, strict=True)):
        place, variant = order.index(base), list(bases[:position]).count(base)
        marker = MARKERS[(place + variant) % len(MARKERS)]
        found[name] = Look(COLOURS[place % len(COLOURS)], marker, LINES[variant % len(LINES)])
    return found


def shorten(text: str, longest: int = LABEL) -> str:
    """Return text cut to the length of a label."""
    return tidy(text, longest)


def draw_picture(draw: Draw, width: float, height: float) -> Picture:
    """Draw a plot in all formats.

    Args:
        draw: called once for each format, with an empty figure.
        width, height: in inches, of 96 CSS pixels each.
    """
    svg = _render(draw, LIGHT, width, height, "svg")
    dark = _render(draw, DARK, width, height, "svg")
    size = (round(96 * width), round(96 * height))
    return Picture(svg, dark, _render(draw, LIGHT, width, height, "png"), size)


def _render(draw: Draw, theme: Theme, width: float, height: float, kind: str) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with rc_context(_parameters(theme)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters in names that the font lacks
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure, theme)
        # No dates and versions, so that equal runs give equal bytes; the salt below does the same for ids.
        empty = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        canvas.print_figure(out, format=kind, dpi=160, metadata=empty, facecolor=theme.ground)
    return out.getvalue()


def _parameters(theme: Theme) -> dict[str, Any]:
    return {
        "svg.hashsalt": "clipdefend",
        "svg.fonttype": "path",
        "text.parse_math": False,  # or two dollar signs in a name would begin a formula
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        "axes.edgecolor": theme.grid,
        "axes.facecolor": theme.ground,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), theme.ink
        ),
    }
