"""Universal perturbations with hard bounds: kinds of changes that an unknown trigger may be like.

A perturbation is a tensor of free values that any image can carry. ``apply`` takes one such tensor for each image,
treats each image alone, and is differentiable in the values. Values drawn from N(0, 1) are a random perturbation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Perturbation(ABC):
    """A kind of perturbation. Fields are its bounds."""

    @abstractmethod
    def shape(self, size: int) -> tuple[int, ...]:
        """Shape of the values of one perturbation on a canvas of ``size`` pixels."""

    @abstractmethod
    def apply(self, images: Tensor, values: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
        """Return perturbed images in [0, 1], shape (n, 3, h, w).

        Args:
            images: in [0, 1], shape (n, 3, h, w).
            values: free values for each image, shape (n, *shape).
            seeds: non-negative, one for each image: of what differs between images that carry the same values.
            strength: 0 to 1, a factor of the bound.
        """


@dataclass(frozen=True, kw_only=True)
class Patch(Perturbation):
    """A square of free pixels, at a place that each image draws.

    Attributes:
        share: side of the square as a share of the canvas, in (0, 1]; ``strength`` is its opacity.
    """

    share: float = 0.125

    def side(self, size: int) -> int:
        """Return the side of the square in pixels."""
        return max(1, round(self.share * size))

    def shape(self, size: int) -> tuple[int, ...]:
        side = self.side(size)
        return (3, side, side)

    def pattern(self, values: Tensor, side: int) -> Tensor:
        """Return the pixels of squares in [0, 1], shape (n, 3, side, side)."""
        return torch.sigmoid(2 * values)

    def apply(self, images: Tensor, values: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
        (count, _, height, width), side = images.shape, self.side(images.shape[-1])
        top = torch.tensor([seed % (height - side + 1) for seed in seeds])
        left = torch.tensor([(seed >> 20) % (width - side + 1) for seed in seeds])
        offsets = torch.arange(side)
        rows = (top[:, None] + offsets)[:, None, :, None].to(images.device)
        columns = (left[:, None] + offsets)[:, None, None, :].to(images.device)
        each = torch.arange(count, device=images.device)[:, None, None, None]
        channels = torch.arange(3, device=images.device)[None, :, None, None]
        place = (each, channels, rows, columns)
        mixed = (1 - strength) * images[place] + strength * self.pattern(values, side)
        return images.index_put(place, mixed)


@dataclass(frozen=True, kw_only=True)
class WavyPatch(Patch):
    """A patch of cosine waves instead of free pixels: it begins as stripes and checks, not as noise.

    Attributes:
        waves, power: as in ``Field``, of the square; a high power leaves few waves.
    """

    waves: int = 16
    power: int = 5

    def shape(self, size: int) -> tuple[int, ...]:
        waves = min(self.waves, self.side(size))
        return (3, waves, waves)

    def pattern(self, values: Tensor, side: int) -> Tensor:
        return torch.sigmoid(4 * _waves(values**self.power, side, side))


@dataclass(frozen=True, kw_only=True)
class Field(Perturbation):
    """An additive field of cosine waves, as smooth as stripes and gradients are.

    Attributes:
        bound: largest change of a value, in (0, 1].
        waves: half waves along a side, at most; a canvas with fewer pixels has as many as pixels.
        power: odd exponent of the values, the waves' amplitudes: a higher one leaves few waves, as in stripes.
    """

    bound: float = 0.2
    waves: int = 16
    power: int = 1

    def shape(self, size: int) -> tuple[int, ...]:
        waves = min(self.waves, size)
        return (3, waves, waves)

    def apply(self, images: Tensor, values: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
        height, width = images.shape[2:]
        field = _waves(values**self.power, height, width)
        return (images + strength * self.bound * torch.tanh(field)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Mark(Perturbation):
    """Opaque coloured shapes, at the same place in all images: lines, areas, what letters are made of.

    Attributes:
        share: of the canvas that the shapes cover, about, in (0, 1]; ``strength`` is their opacity.
        waves: as in ``Field``, of the colours and of the outlines.
    """

    share: float = 0.1
    waves: int = 32

    def shape(self, size: int) -> tuple[int, ...]:
        waves = min(self.waves, size)
        return (4, waves, waves)

    def apply(self, images: Tensor, values: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
        height, width = images.shape[2:]
        colours = torch.sigmoid(4 * _waves(values[:, :3], height, width))
        relief = _waves(values[:, 3:], height, width)
        with torch.no_grad():  # what is above this level is covered; torch's quantile refuses large batches
            count = max(1, round(self.share * height * width))
            level = relief.flatten(1).topk(count).values[:, -1, None, None, None]
        covered = strength * torch.sigmoid(10 * (relief - level))
        return images + covered * (colours - images)


@dataclass(frozen=True, kw_only=True)
class Overlay(Perturbation):
    """A picture of free pixels, mixed into the image.

    Attributes:
        share: of the picture, in (0, 1].
    """

    share: float = 0.2

    def shape(self, size: int) -> tuple[int, ...]:
        return (3, size, size)

    def apply(self, images: Tensor, values: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
        share = strength * self.share
        return (1 - share) * images + share * torch.sigmoid(2 * values)


@dataclass(frozen=True, kw_only=True)
class Warp(Perturbation):
    """Bilinear sampling along a flow that control points give, enlarged bicubically.

    Attributes:
        share: largest displacement of a control point along an axis, as a share of the canvas, in (0, 1].
        points: control points along a side, at least 2; a canvas with fewer pixels has one for each.
    """

    share: float = 0.03
    points: int = 8

    def shape(self, size: int) -> tuple[int, ...]:
        points = min(self.points, size)
        return (2, points, points)

    def apply(self, images: Tensor, values: Tensor, seeds: Sequence[int], strength: float) -> Tensor:
        height, width = images.shape[2:]
        flow = F.interpolate(torch.tanh(values), size=(height, width), mode="bicubic", align_corners=True)
        down = torch.linspace(-1, 1, height, device=images.device)
        across = torch.linspace(-1, 1, width, device=images.device)
        identity = torch.stack([across.expand(height, -1), down[:, None].expand(-1, width)], dim=2)
        grid = identity + 2 * strength * self.share * flow.permute(0, 2, 3, 1)
        # Sampling between values of [0, 1] can leave it by a rounding error.
        return F.grid_sample(images, grid.clamp(-1, 1), align_corners=True).clamp(0, 1)


def _waves(values: Tensor, height: int, width: int) -> Tensor:
    """Sum cosine waves of these amplitudes, shape (n, channels, waves, waves).

    Returns:
        Fields with a root mean square of one, shape (n, channels, height, width).
    """
    down, across = (_cosines(values.shape[-1], size).to(values) for size in (height, width))
    field = down.T @ values @ across
    return field / (field.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-6)


def _cosines(waves: int, size: int) -> Tensor:
    """The first rows of a discrete cosine transform, shape (waves, size)."""
    places = (torch.arange(size) + 0.5) / size
    return torch.cos(math.pi * torch.arange(waves)[:, None] * places)
