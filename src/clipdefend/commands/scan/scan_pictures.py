"""Pictures of found triggers, enlarged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from clipdefend.inversion.model_scan import FoundTrigger

SQUARES = 8
"""Squares along a side of the board that shows what a trigger does to a plain image."""


def draw_trigger(
    path: Path, found: FoundTrigger, images: Tensor, title: str, other: FoundTrigger | None
) -> None:
    """Draw a found trigger as PNG: on a plain board and alone, on an image, and how it was found.

    Args:
        path: of the PNG.
        found: the trigger.
        images: clean ones in [0, 1], at least 1.
        title: one line.
        other: the reference model's trigger of the same family.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.5), dpi=160, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    board, first = _board(images.shape[-1]), images[:1]
    on_board, on_image = found.trigger(board, [0]), found.trigger(first, [0])
    change = on_image - first
    gain = 0.5 / max(float(change.abs().max()), 1e-6)
    shown = {
        "on a grey board": on_board,
        "an image": first,
        "with the trigger": on_image,
        f"change x {gain:.1f}": (0.5 + gain * change).clamp(0, 1),
    }
    axes = figure.subplots(1, len(shown) + 1, width_ratios=[*([1] * len(shown)), 1.5])
    for each, (label, picture) in zip(axes, shown.items(), strict=False):
        each.imshow(picture[0].permute(1, 2, 0).numpy(), interpolation="nearest", vmin=0, vmax=1)
        each.set_xticks([])
        each.set_yticks([])
        each.set_title(label, fontsize=8)
    _draw_curves(axes[-1], [found, *([other] if other else [])])
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    canvas.print_figure(temporary, format="png", metadata={"Software": None})
    temporary.replace(path)


def _board(size: int) -> Tensor:
    """A board of two greys, shape (1, 3, size, size), on which warps show too."""
    places = torch.arange(size) * SQUARES // size
    squares = (places[:, None] + places) % 2
    return (0.45 + 0.1 * squares.float()).expand(1, 3, -1, -1).contiguous()


def _draw_curves(axes: object, found: Sequence[FoundTrigger]) -> None:
    """The size, on a logarithmic axis, by step; dashed where the goal is not reached."""
    for each, name, colour in zip(found, ("suspect", "reference"), ("#D55E00", "#0072B2"), strict=False):
        steps = [point["step"] for point in each.curve]
        sizes = [max(point["size"], 1e-9) for point in each.curve]
        reached = [
            size if point["collapse"] >= each.goal else float("nan")
            for point, size in zip(each.curve, sizes, strict=True)
        ]
        axes.semilogy(steps, sizes, color=colour, linewidth=0.8, label=name)  # type: ignore[attr-defined]
        axes.semilogy(steps, reached, ".", color=colour, markersize=5)  # type: ignore[attr-defined]
    axes.set_xlabel("step (dots: goal reached)", fontsize=8)  # type: ignore[attr-defined]
    axes.set_title(found[0].unit, fontsize=9)  # type: ignore[attr-defined]
    axes.tick_params(which="both", labelsize=7)  # type: ignore[attr-defined]
    axes.legend(fontsize=8)  # type: ignore[attr-defined]
