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
    """A part of a training run with one objective. Fields that are None follow the user's configuration.

    Attributes:
        objective: the loss to minimise.
        name: name in messages and logs, unique among the phases of a defence.
        rows: ids of the pairs to train on, ascending and distinct; None for all.
        epochs: number of passes over the rows.
        lr, warmup, lr_scheduler: learning rate and its schedule, which restarts in each phase; ``warmup`` in steps.
    """

    objective: Objective
    name: str = "train"
    rows: Rows | None = None
    epochs: int | None = None
    lr: float | None = None
    warmup: int | None = None
    lr_scheduler: Literal["cosine", "const", "cleanclip-compat"] | None = None

    def settings(self, train: TrainConfig) -> TrainConfig:
        """Return the training options of the phase."""
        own = {name: getattr(self, name) for name in ("epochs", "lr", "warmup", "lr_scheduler")}
        return replace(train, **{name: value for name, value in own.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for manifests and fingerprints, with the number of rows instead of the rows."""
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
        """Seed of the run; draw from (seed, epoch, row) with ``clipdefend.draws``."""
        ...

    def embed(
        self, model: ClipModel, rows: Rows | None = None, canvas: Canvas | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return unit vectors of images and captions, computed by the model in evaluation mode.

        All processes must call it with equal arguments; they share the work, and each gets the whole result.

        Args:
            model: the bare model.
            rows: pairs to embed; None for all, which costs a forward pass over the data.
            canvas: geometry of the images, for a model other than the suspect; None for that of the suspect.

        Returns:
            Images and captions, (n, d) each, float32 on the model's device, in the order of ``rows``. A row that
            cannot be read has the vectors of the row that would take its place in training.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """A finished optimiser step, for ``Course.after_step``.

    Attributes:
        number: number of finished optimiser steps over the whole run, this one included.
        epoch: epoch, counted from 0 over the whole run.
        phase: phase of the epoch.
        embeddings: embeddings of the global batch before the step, without gradients; equal on all processes.
        loss: loss of the global batch, shape ().
    """

    number: int
    epoch: int
    phase: Phase
    embeddings: Embeddings
    loss: Tensor


class Course(nn.Module):
    """State and hooks of a defence during a training run. By default it has no state and the hooks do nothing.

    It is a module, so its contents are saved and restored without further code. Parameters (such as a head) are
    optimised with the model, at the phase's learning rate; parameters and buffers (such as a bank or labels) move to
    the model's device and into the resume state. Anything else that must survive an interruption belongs in torch's
    ``get_extra_state`` and ``set_extra_state``, as plain data. Buffers keep their shape throughout the run.

    Attributes:
        no_decay: names of parameters that are excluded from weight decay, besides norms, biases and vectors.

    Unless stated otherwise, all hooks are called on every process with equal arguments and must do the same on each.
    They may draw from torch's generator: it is reseeded before each call, from (seed, hook, epoch or step).
    """

    no_decay: ClassVar[tuple[str, ...]] = ()

    def begin_epoch(self, model: ClipModel, data: TrainingData, epoch: int, phase: Phase) -> None:
        """Called before the first step of each epoch, but not again when a run resumes within it.

        Computations over all rows, such as new pseudo-labels, belong here.

        Args:
            model: the bare model, in any mode.
            data: the clean pairs.
            epoch: epoch, counted from 0 over the whole run.
            phase: phase of the epoch.
        """

    def rows(self, epoch: int, phase: Phase) -> Rows | None:
        """Return the rows of the epoch, ascending and distinct, or None for all. Must depend on the saved state alone.

        There may be more or fewer rows than the phase announced; the learning rate then follows the finished share of
        the epoch.
        """
        return phase.rows

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Return what terms read as ``Embeddings.extra`` in a step, and device views as ``DeviceBatch.extra``.

        Args:
            rows: batch (``main``, ``subset``) -> row ids, shape (n,): of the global batch for terms, of this process's
                micro-batch for device views.
        """
        return {}

    def after_step(self, model: ClipModel, step: Step) -> None:
        """Called after each optimiser step, without gradients; may change the model's weights.

        Args:
            model: the bare model, in training mode.
            step: the finished step.
        """


@dataclass(frozen=True, kw_only=True)
class Defence(ABC):
    """A way to train a model. Fields are the parameters, with defaults; each subclass implements one idea.

    The trainer takes a frozen snapshot of the suspect, with which reference terms, drift and reports compare, calls
    ``prepare`` once, and then runs the phases and calls the course's hooks. Stateless defences implement ``phases``
    alone.
    """

    @abstractmethod
    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        """Return the phases, in order. A pure function of the parameters and arguments.

        Args:
            train: the training options as the user configured them.
            rows: number of clean pairs.
        """

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        """Change the suspect's weights if the defence does so, and create its state.

        A resumed run calls it again and then loads the saved weights and state over the result, and ``doctor`` calls it
        on a few rows: it must depend on nothing but its arguments, and computations over all rows belong in
        ``Course.begin_epoch``. Torch's generator is seeded before the call.

        Args:
            model: the suspect, on the CPU; changed in place. Parameters may be frozen, but not replaced.
            data: the clean pairs.
        """
        return Course()

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as plain data, for the manifest."""
        return asdict(self)
