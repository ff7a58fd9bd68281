"""What a training run needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipdefend.canvas import Canvas
from clipdefend.choices import SubcaptionSchedule
from clipdefend.config import TrainConfig
from clipdefend.data.pairs import Pairs
from clipdefend.defences.defence import Defence, Phase
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.views import SubCaptionPair
from clipdefend.training.timetable import Timetable

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
        suspect: a frozen copy of the model as it came, see ``freeze``; None where no term compares with it.
        defence: how it is trained.
        pairs, canvas: the training data and its geometry.
        config: the training options.
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
    defence: Defence
    pairs: Pairs
    canvas: Canvas
    config: TrainConfig
    seed: int
    folder: Path
    title: str
    suspect: ClipModel | None = None
    subcaptions: SubCaptionSource | None = None
    schedule: SubcaptionSchedule = "interleave"
    evaluate: Evaluation | None = None
    select: Callable[[Metrics], float] | None = None
    max_bad: float = 0.01
    workers: int = 0
    note: str | None = None

    @cached_property
    def phases(self) -> list[Phase]:
        """The defence's phases for these pairs."""
        return list(self.defence.phases(self.config, len(self.pairs)))

    @property
    def objective(self) -> str:
        """What is minimised, as a formula; that of several phases one after the other."""
        return ", then ".join(str(phase.objective) for phase in self.phases)

    @property
    def needs_reference(self) -> bool:
        """Whether a term compares with the suspect."""
        return any(phase.objective.needs_reference for phase in self.phases)

    @property
    def uses_all(self) -> bool:
        """Whether every step, and every part of it, has images and captions, and so reaches both towers."""
        return all(
            bool(phase.objective.image_views and phase.objective.text_views)
            and not (phase.objective.has_subset and self.schedule == "epoch-end")
            for phase in self.phases
        )

    def timetable(self, rank: int = 0, world: int = 1) -> Timetable:
        """The steps of process ``rank`` of ``world``. Raises DataError for too few pairs."""
        return Timetable.of(
            self.phases,
            self.config,
            rows=len(self.pairs),
            seed=self.seed,
            subset=self.subcaptions.per_epoch if self.subcaptions else 0,
            schedule=self.schedule,
            rank=rank,
            world=world,
        )


def freeze(model: ClipModel) -> ClipModel:
    """A frozen copy of a model, in evaluation mode on the CPU: the suspect as it came."""
    return copy.deepcopy(model).requires_grad_(False).cpu().eval()
