"""A defence that perturbs the weights before training, as in shrink and perturb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Course, Defence, Phase, TrainingData
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import build_objective


@dataclass(frozen=True, kw_only=True)
class ShrinkDefence(Defence):
    """Reference: none, a test."""

    shrink: float = 0.8
    noise: float = 0.01

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=build_objective("par-clean"))]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        with torch.no_grad():
            for parameter in model.clip.visual.parameters():
                parameter.mul_(self.shrink).add_(self.noise * torch.randn_like(parameter))
        return Course()
