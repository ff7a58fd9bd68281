"""Silhouettes of the built-in nouns.

Rasterised with integer arithmetic, so that every machine draws the same bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from clipdefend.world.nouns import OUTLINES

GRID = 24
"""Side of the grid that outlines are given on."""
FINE = 8
"""Samples per unit of the grid, along each axis."""

Grid = NDArray[np.int64]
Mask = NDArray[np.bool_]


def _polygon(points: list[tuple[int, int]], x: Grid, y: Grid) -> Mask:
    """Return which samples lie inside a polygon, by the even-odd rule."""
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        crosses = (y0 > y) != (y1 > y)
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        inside ^= crosses & ((side > 0) if y1 > y0 else (side < 0))
    return inside


def _bar(ax: int, ay: int, bx: int, by: int, width: int, x: Grid, y: Grid) -> Mask:
    """Return which samples lie inside a straight bar from (ax, ay) to (bx, by)."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    along = (x - ax) * dx + (y - ay) * dy
    across = (x - ax) * dy - (y - ay) * dx
    return (along >= 0) & (along <= length) & (4 * across * across <= width * width * length)


def _primitive(words: list[str], x: Grid, y: Grid) -> Mask:
    """Return which samples lie inside a primitive: its letter and coordinates, see ``nouns``."""
    # Samples lie at odd coordinates and corners at even ones, so that no sample coincides with a corner.
    scale = 2 * FINE
    pairs = [tuple(int(part) * scale for part in word.split(",")) for word in words[1:]]
    if words[0] == "p":
        return _polygon([(px, py) for px, py in pairs], x, y)
    if words[0] == "e":
        (cx, cy), (rx, ry) = pairs
        return ((x - cx) * ry) ** 2 + ((y - cy) * rx) ** 2 <= (rx * ry) ** 2
    (ax, ay), (bx, by), (width,) = pairs
    return _bar(ax, ay, bx, by, width, x, y)


@cache
def silhouette(noun: str) -> Mask:
    """Return the mask of a noun's outline, shape (192, 192): ``FINE`` samples per unit of the grid."""
    samples = 2 * np.arange(GRID * FINE, dtype=np.int64) + 1
    x, y = samples[None, :], samples[:, None]
    mask = np.zeros((GRID * FINE, GRID * FINE), dtype=bool)
    for part in OUTLINES[noun].split(";"):
        words = part.split()
        if words[0].startswith("-"):
            mask &= ~_primitive([words[0][1:], *words[1:]], x, y)
        else:
            mask |= _primitive(words, x, y)
    return mask


@cache
def sprite(noun: str, size: int, flipped: bool = False) -> NDArray[np.int32]:
    """Return how much of each pixel a noun covers, by 4 x 4 samples.

    Args:
        noun: one of ``CLASSES``.
        size: side in pixels.
        flipped: mirrored left to right.

    Returns:
        Sixteenths, shape (size, size), 0 to 16.
    """
    index = (np.arange(4 * size) * 2 + 1) * (GRID * FINE) // (8 * size)
    fine = silhouette(noun)[np.ix_(index, index)]
    cover = fine.reshape(size, 4, size, 4).sum(axis=(1, 3), dtype=np.int32)
    return np.ascontiguousarray(cover[:, ::-1]) if flipped else cover
