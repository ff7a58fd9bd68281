"""Warps: a field of displacements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.attacks.attack import require_number
from clipdefend.attacks.patterns import normal
from clipdefend.attacks.trigger import Trigger
from clipdefend.inversion.family import Family, Parameters


@dataclass(frozen=True, kw_only=True)
class WarpFamily(Family):
    """Bilinear sampling at the identity plus a flow, given by control points in pixels of the canvas.

    The size is the mean length of the flow at the control points. These are interpolated bicubically to the canvas, as
    WaNet's field is; a canvas smaller than ``points`` has one control point per pixel.

    Attributes:
        weight: initial weight of the mean flow in the objective.
        points: number of control points along a side, at least 2.

    Reference:
        Nguyen and Tran, WaNet (arXiv:2102.10369), section 3.2, for the form (see the attack ``wanet``); the objective
        is DECREE's.
    """

    unit: ClassVar[str] = "mean flow in pixels"
    weight: float = 0.1
    points: int = 64

    def __post_init__(self) -> None:
        require_number("points", self.points, 2, 1024, integer=True)

    def start(self, size: int, seed: int, restart: int) -> dict[str, Tensor]:
        points = min(self.points, size)
        return {"flow": normal((1, 2, points, points), seed, "invert-warp", restart)}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        height, width = images.shape[2:]
        flow = _enlarge(parameters["flow"], height)[0].permute(1, 2, 0)
        down = torch.linspace(-1, 1, height, device=images.device)
        across = torch.linspace(-1, 1, width, device=images.device)
        identity = torch.stack([across.expand(height, -1), down[:, None].expand(-1, width)], dim=2)
        grid = (identity + 2 * flow / (width - 1)).clamp(-1, 1).expand(len(images), -1, -1, -1)
        # Sampling between values of [0, 1] can leave it by a rounding error.
        return F.grid_sample(images, grid, align_corners=True).clamp(0, 1)

    def measure(self, parameters: Parameters) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(parameters["flow"], dim=1)
        return length.mean()

    def to_trigger(self, parameters: Parameters, size: int) -> Trigger:
        flow = _enlarge(parameters["flow"], size)[0].permute(1, 2, 0).detach().cpu()
        field = flow * (
            2 * size / (size - 1)
        )  # the attack divides by the size, not by the last pixel's number
        params = {"k": min(self.points, size), "strength": 1.0}
        return Trigger.create("wanet", params, size=size, seed=0, tensors={"field": field.contiguous()})


def _enlarge(flow: Tensor, size: int) -> Tensor:
    """Interpolate control points (1, 2, k, k) to (1, 2, size, size)."""
    if flow.shape[-1] == size:
        return flow
    return F.interpolate(flow, size=size, mode="bicubic", align_corners=True)
