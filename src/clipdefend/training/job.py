"""Definition of a training run."""

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
    """Measures a model."""

    def __call__(self, model: ClipModel, *, full: bool = False) -> dict[str, float]:
        """Return the metrics of a model.

        Args:
            model: left in its mode.
            full: measure all images, not only the quick subset.
        """
        ...


class SubCaptionSource(Protocol):
    """Source of the sub-captions of an epoch."""

    @property
    def per_epoch(self) -> int:
        """Number of sub-captioned rows of an epoch."""
        ...

    def draw(self, epoch: int) -> tuple[NDArray[np.int64], Mapping[int, SubCaptionPair]]:
        """Return the rows of an epoch in order, shape (at most per_epoch,), and the sub-captions of each."""
        ...


@dataclass(kw_only=True)
class Job:
    """A training run, of an attack or of a defence.

    Attributes:
        model: the model, which is trained in place.
        suspect: a frozen copy of the initial model, see ``freeze``; None if nothing compares with it.
        defence: the method.
        pairs: the training pairs.
        canvas: geometry of the images.
        config: the training options.
        seed: seed of order and augmentations.
        folder: the run folder, for ``metrics.jsonl``, ``state/``, ``model/`` and ``best/``.
        subcaptions: source of sub-captions, for objectives with a sub-caption batch.
        schedule: placement of the sub-caption batches in an epoch.
        evaluate: measures a model before the first epoch and after each evaluated one; None skips evaluation.
        select: metrics -> value; the epoch with the largest value is kept as ``best/``.
        max_bad: largest allowed share of unusable rows, 0 to 1.
        workers: number of processes that read images.
        title: title of the progress bar.
        note: a warning to store with the weights, in a file beside them and in their metadata.
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
        """The objective as a formula; several phases are listed one after the other."""
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
        """Lay out the steps of process ``rank`` of ``world``. Raises DataError if there are too few pairs."""
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
    """Return a frozen copy of a model, in evaluation mode on the CPU, as the suspect to compare with."""
    return copy.deepcopy(model).requires_grad_(False).cpu().eval()
