"""Blends: a pattern of the image's size, mixed into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clipdefend.attacks.patterns import uniform
from clipdefend.attacks.trigger import Trigger
from clipdefend.inversion.family import Family, Parameters, squash


@dataclass(frozen=True, kw_only=True)
class BlendFamily(Family):
    """x' = (1 - a) x + a n, with a pattern n of values in (0, 1) and one share a in (0, 1).

    The size is a, which starts at 0.3.

    Attributes:
        weight: initial weight of the share in the objective.

    Reference:
        Chen et al. (arXiv:1712.05526), section 3.3, for the form (see the attack ``blended``); the
        objective is DECREE's.
    """

    unit: ClassVar[str] = "share of the pattern"
    weight: float = 2.0

    def start(self, size: int, seed: int, restart: int) -> dict[str, Tensor]:
        pattern = 2 * uniform((1, 3, size, size), seed, "invert-blend", restart) - 1
        share = torch.atanh(torch.tensor(2 * 0.3 - 1)).reshape(1, 1, 1, 1)
        return {"share": share, "pattern": pattern}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        share = squash(parameters["share"])
        return (1 - share) * images + share * squash(parameters["pattern"])

    def measure(self, parameters: Parameters) -> Tensor:
        return squash(parameters["share"]).mean()

    def to_trigger(self, parameters: Parameters, size: int) -> Trigger:
        share = float(squash(parameters["share"]).detach())
        pattern = squash(parameters["pattern"])[0].detach().cpu()
        return Trigger.create("blended", {"alpha": share}, size=size, seed=0, tensors={"pattern": pattern})
