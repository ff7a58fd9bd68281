"""What a training needs, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipdefend.canvas import Canvas
from clipdefend.choices import SubcaptionSchedule
from clipdefend.config import TrainConfig
from clipdefend.data.pairs import Pairs
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective
from clipdefend.training.views import SubCaptionPair

Metrics = Mapping[str, float]


class Evaluation(Protocol):
    """Metrics of a model."""

    def __call__(self, model: ClipModel, *, full: bool = False) -> dict[str, float]:
        """Of all images where ``full``, else as quick as was asked for."""
        ...


class SubCaptionSource(Protocol):
    """Where the sub-captions of an epoch come from."""

    @property
    def per_epoch(self) -> int:
        """How many rows an epoch uses."""
        ...

    def draw(self, epoch: int) -> tuple[NDArray[np.int64], Mapping[int, SubCaptionPair]]:
        """Rows of an epoch in their order, shape (at most per_epoch,), and the sub-captions of each."""
        ...


@dataclass(kw_only=True)
class Job:
    """A training run: a victim's or a defence's.

    Attributes:
        model: trained in place.
        reference: the frozen start model, where the objective asks for one.
        objective: what is minimised.
        pairs, canvas: the training data and its geometry.
        config: the numbers of the training.
        seed: of order and augmentations.
        folder: the run's folder: ``metrics.jsonl``, ``state/``, ``model/`` and ``best/`` go there.
        subcaptions: for objectives with a sub-caption batch.
        schedule: where the sub-caption batches go.
        evaluate: metrics of a model, before the first epoch and after each evaluated one; None for none.
        select: the value whose largest epoch is kept as ``best/``.
        max_bad: largest share of rows that may be unusable.
        workers: processes that read images.
        title: of the progress bar.
        note: warning that goes with the weights, in a file beside them and in their metadata.
    """

    model: ClipModel
    objective: Objective
    pairs: Pairs
    canvas: Canvas
    config: TrainConfig
    seed: int
    folder: Path
    title: str
    reference: ClipModel | None = None
    subcaptions: SubCaptionSource | None = None
    schedule: SubcaptionSchedule = "interleave"
    evaluate: Evaluation | None = None
    select: Callable[[Metrics], float] | None = None
    max_bad: float = 0.01
    workers: int = 0
    note: str | None = None

    @property
    def uses_all(self) -> bool:
        """Whether every step, and every part of it, has images and captions, and so reaches both towers."""
        main = bool(self.objective.image_views and self.objective.text_views)
        return main and not (self.objective.has_subset and self.schedule == "epoch-end")
