"""The image augmentation that `tiny` is trained with: crops, warps, colours, overlays, noise, blur and compression.

A model that has never seen noise or a warp does not recognise images under a trigger of that kind, with or without a
backdoor, and then its robust accuracy says nothing about the backdoor. For every image it is drawn which changes apply,
and how strongly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment a batch of images at random.

    Args:
        images: shape (n, 3, h, w) in [0, 1].
        generator: source of every draw.

    Returns:
        New images, shape (n, 3, h, w) in [0, 1]; about one in twenty is unchanged.
    """
    x = geometric(images, generator)
    x = photometric(x, generator)
    x = overlay(x, generator)
    x = noise(x, generator)
    return soften(x, generator).clamp(0, 1)


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator)


def _choose(n: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw 1 with a probability of ``share`` for each image, else 0; shape (n, 1, 1, 1)."""
    return (_rand(generator, n, 1, 1, 1) < share).float()


def geometric(x: Tensor, g: torch.Generator) -> Tensor:
    """Crop to 0.7 to 1.1 of the side at a random place, and warp by smooth fields and by one of every pixel."""
    n, _, h, w = x.shape
    down, across = torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)
    grid = torch.stack([across.expand(h, w), down[:, None].expand(h, w)], dim=2).expand(n, h, w, 2)
    cropped = _choose(n, 0.5, g)
    scale = 1 + cropped * (_rand(g, n, 1, 1, 1) * 0.4 - 0.3)
    shift = cropped * (1 - scale).abs() * (_rand(g, n, 1, 1, 2) * 2 - 1)
    grid = grid * scale + shift
    for points, share, pixels in ((4, 0.2, 3.0), (8, 0.2, 2.0), (16, 0.15, 1.5), (64, 0.25, 1.5)):
        field = _rand(g, n, 2, points, points) * 2 - 1
        field = F.interpolate(field / 0.5, size=(h, w), mode="bicubic", align_corners=True)
        strength = _choose(n, share, g) * _rand(g, n, 1, 1, 1) * pixels * 2 / w
        grid = grid + (strength * field).permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True)


def photometric(x: Tensor, g: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and, mildly, the gain of each channel."""
    n = len(x)
    on = _choose(n, 0.5, g)
    x = x * (1 + on * (_rand(g, n, 1, 1, 1) * 0.8 - 0.4))
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + on * (_rand(g, n, 1, 1, 1) * 0.8 - 0.4))
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1 + on * (_rand(g, n, 1, 1, 1) * 0.6 - 0.3))
    return (x * (1 + on * (_rand(g, n, 3, 1, 1) * 0.2 - 0.1))).clamp(0, 1)


def overlay(x: Tensor, g: torch.Generator) -> Tensor:
    """Add waves, blend in noise, stripes or another image, and paste small squares of noise or colour."""
    n, _, h, w = x.shape
    angle = _rand(g, n, 1, 1, 1) * torch.pi * (_rand(g, n, 1, 1, 1) < 0.6)
    place = torch.cos(angle) * torch.arange(w) / w + torch.sin(angle) * torch.arange(h)[:, None] / h
    wave = torch.sin(2 * torch.pi * (place * (1 + _rand(g, n, 1, 1, 1) * 15) + _rand(g, n, 1, 1, 1)))
    x = x + _choose(n, 0.3, g) * _rand(g, n, 1, 1, 1) * 0.26 * wave
    pattern = torch.where(_rand(g, n, 1, 1, 1) < 0.7, _rand(g, n, 3, h, w), x.roll(1, 0))
    pattern = torch.where(_rand(g, n, 1, 1, 1) < 0.2, _rand(g, n, 3, 1, w).expand(n, 3, h, w), pattern)
    alpha = _choose(n, 0.4, g) * _rand(g, n, 1, 1, 1) * 0.3
    x = x * (1 - alpha) + alpha * pattern
    for _ in range(2):
        side = 4 + _rand(g, n, 1, 1, 1) * 12
        top, left = _rand(g, n, 1, 1, 1) * (h - side), _rand(g, n, 1, 1, 1) * (w - side)
        rows, columns = torch.arange(h)[:, None], torch.arange(w)
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        colour = torch.where(_rand(g, n, 1, 1, 1) < 0.5, _rand(g, n, 3, h, w), _rand(g, n, 3, 1, 1))
        x = torch.where(inside & (_choose(n, 0.25, g) > 0), colour, x)
    return x


def noise(x: Tensor, g: torch.Generator) -> Tensor:
    """Add fine or coarse Gaussian noise with a standard deviation of up to 0.12."""
    n, _, h, w = x.shape
    fine = torch.randn((n, 3, h, w), generator=g)
    coarse = F.interpolate(torch.randn((n, 3, h // 4, w // 4), generator=g), size=(h, w), mode="bilinear")
    drawn = torch.where(_rand(g, n, 1, 1, 1) < 0.7, fine, coarse)
    return x + _choose(n, 0.35, g) * _rand(g, n, 1, 1, 1) * 0.12 * drawn


def soften(x: Tensor, g: torch.Generator) -> Tensor:
    """Blur as by a lens or by resizing down and up, and quantise colours as strong compression does."""
    n, _, h, w = x.shape
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.lerp(x, blurred, _choose(n, 0.3, g) * _rand(g, n, 1, 1, 1))
    small = F.interpolate(F.interpolate(x, scale_factor=0.5, mode="area"), size=(h, w), mode="bilinear")
    x = torch.where(_choose(n, 0.15, g) > 0, small, x)
    step = 1 / 16  # a cheap substitute for a JPEG encoder in the training loop
    coarse = (x / step).round() * step
    return torch.where(_choose(n, 0.1, g) > 0, coarse, x)
