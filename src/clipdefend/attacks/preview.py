"""Preview of a trigger: PSNR, SSIM, and a picture of clean images, triggered images and their difference."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

SHOWN = 8
MAX_PSNR = 100.0
"""PSNR in dB that equal images, whose PSNR is infinite, contribute to the mean."""


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each pair, in dB: 10 log10(1 / mean squared difference).

    Args:
        a: shape (n, 3, h, w) in [0, 1].
        b: likewise.

    Returns:
        Shape (n,), float64; infinite for equal images.
    """
    error = (a.double() - b.double()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity of each pair, for a data range of 1.

    Local means, variances and covariance are weighted by a Gaussian window of 11 x 11 pixels, sigma 1.5; the
    map covers the places where the whole window fits and is averaged over places and channels.

    Args:
        a: shape (n, 3, h, w) in [0, 1], h and w at least 11.
        b: likewise.

    Returns:
        Shape (n,), float64, at most 1.

    Reference:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (IEEE TIP 13(4),
        2004), equation 13, K1 = 0.01, K2 = 0.03.
    """
    offsets = torch.arange(11, dtype=torch.float64, device=a.device) - 5
    row = torch.exp(-offsets.square() / (2 * 1.5**2))
    row = row / row.sum()

    def local(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(flat, row.view(1, 1, 11, 1)), row.view(1, 1, 1, 11))

    x, y = a.double(), b.double()
    mean_x, mean_y = local(x), local(y)
    variance_x = local(x * x) - mean_x**2
    variance_y = local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).reshape(len(a), -1).mean(dim=1)


def write_preview(path: Path, clean: Tensor, triggered: Tensor, title: str) -> dict[str, float]:
    """Draw up to 8 images as PNG: clean, triggered, and their magnified difference on mid-grey.

    Args:
        path: path of the PNG.
        clean: shape (n, 3, h, w) in [0, 1], n at least 1.
        triggered: likewise.
        title: the attack and its parameters.

    Returns:
        ``psnr`` (dB; equal images count as 100) and ``ssim``, means over all n images.
    """
    figures = {
        "psnr": float(psnr(clean, triggered).clamp(max=MAX_PSNR).mean()),
        "ssim": float(ssim(clean, triggered).mean()),
    }
    shown_clean, shown_triggered = clean[:SHOWN].float().cpu(), triggered[:SHOWN].float().cpu()
    difference = shown_triggered - shown_clean
    gain = _gain(float(difference.abs().max()))
    rows = {
        "clean": shown_clean,
        "triggered": shown_triggered,
        f"difference x {gain:g}": (0.5 + gain * difference).clamp(0, 1),
    }
    heading = f"{title}\nPSNR {figures['psnr']:.1f} dB, SSIM {figures['ssim']:.3f}"
    _draw(path, rows, heading)
    return figures


def _gain(largest: float) -> float:
    """Return the largest magnification that keeps the largest difference within 128 grey levels."""
    gains = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
    return max((gain for gain in gains if gain * largest <= 128 / 255), default=0.5)


def _draw(path: Path, rows: dict[str, Tensor], heading: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(images) for images in rows.values())
    wrapped = _wrap(heading, 16 + 20 * max(columns, 4))
    head = 0.25 + 0.2 * (wrapped.count("\n") + 1)
    figure = Figure(figsize=(0.4 + 1.6 * max(columns, 4), 1.6 * len(rows) + head), dpi=120)
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        axes_row[0].set_ylabel(label, fontsize=8)
    figure.suptitle(wrapped, fontsize=9, y=1 - 0.1 / figure.get_figheight(), va="top")
    top = 1 - head / figure.get_figheight()
    figure.subplots_adjust(left=0.05, right=0.995, bottom=0.01, top=top, wspace=0.04, hspace=0.04)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    canvas.print_figure(temporary, format="png", metadata={"Software": None})
    temporary.replace(path)


def _wrap(text: str, width: int) -> str:
    import textwrap

    return "\n".join(part for line in text.splitlines() for part in (textwrap.wrap(line, width) or [""]))
