"""Additive fields: a bounded change of every value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clipdefend.attacks.attack import require_number
from clipdefend.attacks.patterns import normal
from clipdefend.attacks.trigger import Trigger
from clipdefend.inversion.family import Family, Parameters


@dataclass(frozen=True, kw_only=True)
class AdditiveFamily(Family):
    """x' = clip(x + bound * tanh(d)), with a field d of one value per pixel and channel.

    The size is the mean absolute change, which the search minimises below the bound.

    Attributes:
        weight: initial weight of the mean change in the objective.
        bound: largest change of a value, above 0, at most 1.

    Reference:
        Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017 (arXiv:1610.08401), for the form; the
        objective is DECREE's.

    Deviates:
        Universal perturbations are bounded and trained to change predictions; these collapse the embeddings, as
        DECREE's patches do, and their mean is minimised.
    """

    unit: ClassVar[str] = "mean change of a value"
    weight: float = 10.0
    bound: float = 0.25

    def __post_init__(self) -> None:
        require_number("bound", self.bound, 1e-6, 1)

    def start(self, size: int, seed: int, restart: int) -> dict[str, Tensor]:
        return {"field": 0.3 * normal((1, 3, size, size), seed, "invert-field", restart)}

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        return (images + self.bound * torch.tanh(parameters["field"])).clamp(0, 1)

    def measure(self, parameters: Parameters) -> Tensor:
        return self.bound * torch.tanh(parameters["field"]).abs().mean()

    def to_trigger(self, parameters: Parameters, size: int) -> Trigger:
        field = (self.bound * torch.tanh(parameters["field"]))[0].detach().cpu()
        return Trigger.create(
            "additive-field", {"bound": self.bound}, size=size, seed=0, tensors={"field": field}
        )
