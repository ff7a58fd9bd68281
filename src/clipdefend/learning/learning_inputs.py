"""Inputs and result of learning a trigger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipdefend.attacks.attack import Attack
from clipdefend.canvas import Canvas
from clipdefend.console import Console
from clipdefend.data.bad import BadRows
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation
from clipdefend.errors import DataError
from clipdefend.models.clip import ClipModel

HELD_OUT = 256
"""Most images that the learned trigger is measured on."""
LOG_EVERY = 10
"""Steps between two lines of the loss curve."""

Augment = Callable[[Image.Image, int], Tensor]


@dataclass(frozen=True)
class Surrogate:
    """The model that the attacker has access to in place of the victim's.

    Attributes:
        model: frozen and in evaluation mode, on ``inputs.device``.
        texts: unit vectors of the class texts, shape (classes, d).
        target: index of the target among them.
    """

    model: ClipModel
    texts: Tensor
    target: int


@dataclass(kw_only=True)
class LearningInputs:
    """Everything that a trigger may be learned from.

    Attributes:
        attack: the attack and its parameters.
        pairs: clean images and captions.
        canvas: geometry of the images that the trigger is put on.
        target: name of the target class.
        templates: prompts with ``{}`` for the class name.
        surrogate: loads the surrogate on its first call.
        augment: (canvas, seed) -> augmented canvas, uint8, shape (3, h, w).
        seed: seed of every draw.
        bad: counter of unusable rows.
        console: shows progress and messages.
        log: records a line of the loss curve.
        workers: number of processes that read images; 0 reads in this one.
        device: device to learn on.
    """

    attack: Attack
    pairs: Pairs
    canvas: Canvas
    target: str
    templates: Sequence[str]
    surrogate: Callable[[], Surrogate]
    augment: Augment
    seed: int
    bad: BadRows
    console: Console = field(default_factory=Console)
    log: Callable[[Mapping[str, Any]], None] = lambda line: None
    workers: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def rows(self, count: int, without: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw disjoint rows to learn from and to measure on.

        Args:
            count: maximum number of rows to learn from.
            without: rows to leave out of both.

        Returns:
            At most ``count`` rows to learn from, and 1 to `HELD_OUT` held-out rows.

        Raises:
            DataError: fewer than 2 rows are left.
        """
        order = permutation(len(self.pairs), self.seed, "learn")
        order = order[~np.isin(order, without)]
        if len(order) < 2:
            raise DataError(f"A trigger cannot be learned from {len(order)} pairs: give more with --data.")
        held_out = max(1, min(HELD_OUT, len(order) // 5))
        return order[held_out : held_out + count], order[:held_out]


@dataclass(frozen=True)
class Learned:
    """A learned trigger.

    Attributes:
        tensors: the tensors that all images share, float32, on the CPU.
        details: how it was learned and how well it works, as plain values for the manifest.
    """

    tensors: Mapping[str, Tensor]
    details: Mapping[str, Any]
