"""A defence with a linear head of its own on pseudo-labels that are made anew in each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Course, Defence, Phase, TrainingData
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective, build_objective
from clipdefend.objectives.term import Embeddings, Term


@dataclass(frozen=True, kw_only=True)
class Classify(Term):
    """Cross-entropy of the head on the images with the labels of their rows."""

    image_views = ("clean",)
    text_views = ()

    def loss(self, e: Embeddings) -> Tensor:
        return F.cross_entropy(e.extra["head"](e.image["clean"]), e.extra["labels"])


class Clusters(Course):
    def __init__(self, rows: int, width: int, count: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, count)
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64))

    def begin_epoch(self, model: ClipModel, data: TrainingData, epoch: int, phase: Phase) -> None:
        images, _ = data.embed(model)
        centres = images[torch.randperm(len(images))[: self.head.out_features].to(images.device)]
        self.labels = (images @ centres.T).argmax(dim=1)

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"head": self.head, "labels": self.labels[rows["main"]]}


@dataclass(frozen=True, kw_only=True)
class HeadDefence(Defence):
    """Reference: none, a test."""

    clusters: int = 3

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        terms = {**build_objective("ft").terms, "classify": Classify()}
        return [Phase(objective=Objective(terms))]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        return Clusters(len(data.pairs), model.clip.text_projection.shape[1], self.clusters)
