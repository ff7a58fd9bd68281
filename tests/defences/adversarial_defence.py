"""A defence whose image view is a gradient step on the input, away from the image's own caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Defence, Phase
from clipdefend.objectives.objective import build_objective
from clipdefend.objectives.views import DeviceBatch, DeviceView

EPSILON = 8 / 255


def away_from_caption(given: DeviceBatch) -> Tensor:
    """One signed gradient step on the pixels that lowers the cosine with the caption."""
    pixels = given.images.clone().requires_grad_()
    cosine = (given.model.encode_image(pixels) * given.model.encode_text(given.tokens)).sum()
    (gradient,) = torch.autograd.grad(cosine, pixels)
    return (given.images - EPSILON * gradient.sign()).clamp(0, 1)


ADVERSARIAL = DeviceView(
    name="adversarial", summary="a gradient step away from the caption", make=away_from_caption
)
"""Registered by the tests that use it, since a view that stays would be one more for every other test."""


@dataclass(frozen=True, kw_only=True)
class AdversarialDefence(Defence):
    """Reference: none, a test."""

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=build_objective("ft", {"mmcl": {"image_view": "adversarial"}}))]
