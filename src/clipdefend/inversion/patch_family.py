"""Patches: a mask and a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clipdefend.attacks.patterns import uniform
from clipdefend.attacks.trigger import Trigger
from clipdefend.inversion.family import Family, Parameters, squash


@dataclass(frozen=True, kw_only=True)
class PatchFamily(Family):
    """x' = (1 - m) x + m p, with a mask m in (0, 1) shared by the channels and a pattern p in (0, 1).

    The size is the mean of m, the share of pixels covered. Mask and pattern are (tanh + 1) / 2 of unconstrained values,
    which are drawn uniformly, those of the mask around a coverage of about an eighth.

    Attributes:
        weight: initial weight of the share of pixels in the objective.

    Reference:
        Feng et al., Detecting Backdoors in Pre-trained Encoders, CVPR 2023 (arXiv:2303.15180), and ``main.py`` of its
        release (GiantSeaweed/DECREE, commit 9c13b88).

    Deviates:
        DECREE counts the mask's L1 norm over three channels, which depends on the canvas; here it is a share. Its mask
        starts around one half and shrinks over hundreds of epochs; here it starts small, for a search of about a
        hundred steps.
    """

    unit: ClassVar[str] = "share of pixels"
    weight: float = 3.0

    def start(self, size: int, seed: int, restart: int) -> dict[str, Tensor]:
        mask = 2 * uniform((1, 1, size, size), seed, "invert-mask", restart) - 1
        pattern = 2 * uniform((1, 3, size, size), seed, "invert-pattern", restart) - 1
        return {"mask": mask - 1, "pattern": pattern}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        mask = squash(parameters["mask"])
        return (1 - mask) * images + mask * squash(parameters["pattern"])

    def measure(self, parameters: Parameters) -> Tensor:
        return squash(parameters["mask"]).mean()

    def to_trigger(self, parameters: Parameters, size: int) -> Trigger:
        tensors = {name: squash(parameters[name])[0].detach().cpu() for name in ("mask", "pattern")}
        return Trigger.create("masked-pattern", size=size, seed=0, tensors=tensors)
