"""What a defence is: parameters, phases of training, and a course that holds its state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.data.pairs import Pairs
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """A part of a training run with one objective. What is None is as the user configured it.

    Attributes:
        objective: what is minimised.
        name: for people and for the log, unique among the phases of a defence.
        rows: ids of the pairs that it trains on, ascending, each once; None: all.
        epochs: passes over its rows.
        lr, warmup, lr_scheduler: its learning rate, whose schedule begins anew in each phase; ``warmup`` in steps.
    """

    objective: Objective
    name: str = "train"
    rows: Rows | None = None
    epochs: int | None = None
    lr: float | None = None
    warmup: int | None = None
    lr_scheduler: Literal["cosine", "const", "cleanclip-compat"] | None = None

    def settings(self, train: TrainConfig) -> TrainConfig:
        """The training options of the phase."""
        own = {name: getattr(self, name) for name in ("epochs", "lr", "warmup", "lr_scheduler")}
        return replace(train, **{name: value for name, value in own.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for manifests and fingerprints; the rows by their number."""
        own = {name: getattr(self, name) for name in ("epochs", "lr", "warmup", "lr_scheduler")}
        return {
            "name": self.name,
            "objective": str(self.objective),
            "terms": self.objective.to_dict(),
            "rows": None if self.rows is None else len(self.rows),
            **own,
        }


class TrainingData(Protocol):
    """The clean pairs as a defence sees them."""

    @property
    def pairs(self) -> Pairs:
        """All pairs, by row id from 0 to ``len(pairs) - 1``."""
        ...

    @property
    def canvas(self) -> Canvas:
        """Geometry of the images."""
        ...

    @property
    def config(self) -> TrainConfig:
        """The training options as the user configured them."""
        ...

    @property
    def seed(self) -> int:
        """The run's; draw from (seed, epoch, row) by ``clipdefend.draws``."""
        ...

    def embed(
        self, model: ClipModel, rows: Rows | None = None, canvas: Canvas | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors of images and captions as the model in evaluation mode sees them.

        All processes must call it alike; they share the work and all get the whole result.

        Args:
            model: the bare model.
            rows: which pairs; None: all, which costs a forward pass over the data.
            canvas: geometry of the images, for another model than the suspect; None: the suspect's.

        Returns:
            Images and captions, (n, d) each, float32 on the model's device, in the order of ``rows``. A row that
            cannot be read has the vectors of the row that would take its place in training.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """What ``Course.after_step`` is told.

    Attributes:
        number: optimiser steps finished, this one included, over the whole run.
        epoch: counted from 0 over the whole run.
        phase: of the epoch.
        embeddings: of the global batch, from before the step, without gradients; equal on all processes.
        loss: of the global batch, shape ().
    """

    number: int
    epoch: int
    phase: Phase
    embeddings: Embeddings
    loss: Tensor


class Course(nn.Module):
    """A defence under way: its state and its hooks. The defaults hold nothing and do nothing.

    It is a module, so that what it holds is kept without further code. Parameters (those of a head) are optimised
    with the model, by the phase's learning rate; parameters and buffers (a bank, labels) go to the model's device
    and into the resume state. Anything else that must survive an interruption belongs into torch's
    ``get_extra_state`` and ``set_extra_state``, as plain data. Buffers keep their shape over the run.

    Attributes:
        no_decay: names of parameters that weight decay leaves alone, besides norms, biases and vectors.

    All hooks are called on every process with equal arguments, except where said, and must do the same on each. They
    draw from torch's generator freely: it is seeded anew before each call, by (seed, hook, epoch or step).
    """

    no_decay: ClassVar[tuple[str, ...]] = ()

    def begin_epoch(self, model: ClipModel, data: TrainingData, epoch: int, phase: Phase) -> None:
        """Called before the first step of each epoch; not again when a run resumes within it.

        The place for what looks at all rows, such as new pseudo-labels.

        Args:
            model: the bare model, in any mode.
            data: the clean pairs.
            epoch: counted from 0 over the whole run.
            phase: of the epoch.
        """

    def rows(self, epoch: int, phase: Phase) -> Rows | None:
        """Rows of the epoch, ascending, each once; None: all. Must follow from the saved state alone.

        There may be more or fewer of them than the phase announced: its learning rate then moves by the share of the
        epoch that is done.
        """
        return phase.rows

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """What the terms read as ``Embeddings.extra`` in a step, and device views as ``DeviceBatch.extra``.

        Args:
            rows: batch (``main``, ``subset``) -> row ids, shape (n,); for terms of the global batch, for device
                views of this process's micro-batch.
        """
        return {}

    def after_step(self, model: ClipModel, step: Step) -> None:
        """Called after each optimiser step, without gradients; may change the model's weights.

        Args:
            model: the bare model, in training mode.
            step: what happened.
        """


@dataclass(frozen=True, kw_only=True)
class Defence(ABC):
    """How a model is trained. Fields are the parameters, with defaults; a subclass has one idea.

    Life of a defence: the trainer takes a frozen snapshot of the suspect, with which reference terms, drift and
    reports compare; calls ``prepare`` once; goes through the phases and calls the course's hooks. Stateless defences
    implement ``phases`` alone.
    """

    @abstractmethod
    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        """The phases, in order. A pure function of the parameters and arguments.

        Args:
            train: the training options as the user configured them.
            rows: number of clean pairs.
        """

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        """Change the suspect's weights where the defence does so, and make its state.

        A resumed run calls it again and then loads the saved weights and state over the result, and ``doctor`` calls it
        on a few rows: it must not depend on anything but its arguments, and what looks at all rows belongs into
        ``Course.begin_epoch``. Torch's generator is seeded before the call.

        Args:
            model: the suspect, on the CPU; changed in place. Parameters may be frozen, but not replaced.
            data: the clean pairs.
        """
        return Course()

    def to_dict(self) -> dict[str, Any]:
        """The parameters as plain data: what a manifest records."""
        return asdict(self)
