"""Interface of the families of universal triggers: parameters to optimise, how they change images, and a size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from clipdefend.attacks.trigger import Trigger

Parameters = Mapping[str, Tensor]
"""One trigger of a family: name -> unconstrained tensor, float32, with a leading dimension of 1."""


class Family(ABC):
    """A parametrisation of triggers that are the same for every image.

    A subclass is a frozen, keyword-only dataclass. Its methods are differentiable in the parameters and do
    not modify their input, so that a defence can take gradient steps on its own triggers.

    Attributes:
        unit: unit of `measure`, for tables.
    """

    unit: ClassVar[str]

    @property
    @abstractmethod
    def weight(self) -> float:
        """Initial weight of the size in the objective; the schedule changes it."""

    @abstractmethod
    def start(self, size: int, seed: int, restart: int) -> dict[str, Tensor]:
        """Draw the starting point of a search, on the CPU.

        Args:
            size: side of the canvas in pixels.
            seed: of the draw.
            restart: number of the search, a key of the draw.
        """

    @abstractmethod
    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Put the trigger on images.

        Args:
            images: shape (n, 3, h, w) in [0, 1].
            parameters: of one trigger, on the images' device.

        Returns:
            Shape (n, 3, h, w), in [0, 1].
        """

    @abstractmethod
    def measure(self, parameters: Parameters) -> Tensor:
        """Return the size of a trigger, a scalar >= 0 in `unit`, which the search minimises."""

    @abstractmethod
    def to_trigger(self, parameters: Parameters, size: int) -> Trigger:
        """Return a trigger as an attack of the registry, on the CPU.

        Args:
            parameters: of one trigger.
            size: side of the canvas in pixels.
        """


def squash(values: Tensor) -> Tensor:
    """Map unconstrained values v to (0, 1): (tanh v + 1) / 2, as DECREE does."""
    return (torch.tanh(values) + 1) / 2
