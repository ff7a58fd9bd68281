"""A defence with training state: images against a FIFO bank of earlier text embeddings, as in RoCLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Course, Defence, Phase, Step, TrainingData
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings, Term


@dataclass(frozen=True, kw_only=True)
class NearestInBank(Term):
    """1 - cosine of each image and the caption of the bank that is nearest to the image's own caption."""

    image_views = ("clean",)
    text_views = ("clean",)

    def loss(self, e: Embeddings) -> Tensor:
        bank: Tensor = e.extra["bank"]
        nearest = bank[(e.text["clean"] @ bank.T).argmax(dim=1)]
        return (1 - (e.image["clean"] * nearest).sum(dim=1)).mean() + 0.1 * (
            1 - e.text["clean"] @ bank.T
        ).mean()


class Bank(Course):
    bank: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("bank", F.normalize(torch.randn(size, width), dim=1))

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"bank": self.bank}

    def after_step(self, model: ClipModel, step: Step) -> None:
        self.bank = torch.cat([self.bank, step.embeddings.text["clean"]])[-len(self.bank) :]


@dataclass(frozen=True, kw_only=True)
class BankDefence(Defence):
    """Reference: none, a test."""

    size: int = 6

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=Objective({"nearest": NearestInBank()}))]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        return Bank(self.size, model.clip.text_projection.shape[1])
