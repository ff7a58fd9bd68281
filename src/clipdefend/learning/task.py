"""What a learned trigger is learned from, and what comes of it."""

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
LOG_EVERY = 10

Augment = Callable[[Image.Image, int], Tensor]


@dataclass(frozen=True)
class Surrogate:
    """The model that the attacker has in place of the victim's.

    Attributes:
        model: frozen and in evaluation mode, on the task's device.
        texts: unit vectors of the class texts, shape (classes, d).
        target: index of the target among them.
    """

    model: ClipModel
    texts: Tensor
    target: int


@dataclass(kw_only=True)
class Task:
    """All that a trigger may be learned from.

    Attributes:
        attack: its parameters.
        pairs, canvas: clean images and captions, and the geometry under the trigger.
        target: class name.
        templates: prompts with ``{}``.
        surrogate: loads the model.
        augment: changes a canvas by a seed, uint8 (3, h, w).
        seed: of every draw.
        bad: counts rows that cannot be used.
        console: for people.
        log: keeps a line of the loss curve.
        workers: processes that read images.
        device: where it is learned.
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
        """Draw rows to learn from, at most ``count``, and others to measure on.

        Args:
            count: the most rows to learn from.
            without: rows that are left out of both.

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
        tensors: what all images share, float32, on the CPU.
        details: how it was learned and how good it is, plain values for the manifest.
    """

    tensors: Mapping[str, Tensor]
    details: Mapping[str, Any]
