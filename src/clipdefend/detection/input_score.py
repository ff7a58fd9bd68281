"""Interface of input scores: prepared from clean images, then functions of one batch of images at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from clipdefend.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a service knows before it judges inputs.

    Attributes:
        encode_image: pixels in [0, 1], (n, 3, h, w) -> outputs of the image tower, (n, d); both on the CPU.
        encode_text: texts -> unit vectors on the CPU, (n, d).
        classes: names of the classes.
        templates: prompts with ``{}`` for a name.
        clean: pixels of images that are known to be clean, (m, 3, h, w), in [0, 1].
        traffic: embeddings of received images, some of which may carry the trigger, (t, d); None if none have been
            received yet.
        scale: the model's logit scale.
        seed: seed of the draws.
    """

    encode_image: Callable[[Tensor], Tensor]
    encode_text: Callable[[list[str]], Tensor]
    classes: Sequence[str]
    templates: Sequence[str]
    clean: Tensor
    traffic: Tensor | None = None
    scale: float = 100.0
    seed: int = 0

    def class_texts(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """Return a unit vector for each class: the mean of its prompts' vectors, normalised; (classes, d)."""
        vectors = self.encode_text([text for each in prompts for text in each])
        return F.normalize(vectors.view(len(prompts), -1, vectors.shape[1]).mean(dim=1), dim=1)

    def prompts(self) -> list[list[str]]:
        """Return the prompts of each class. Raises DataError without classes or templates."""
        if not self.classes or not self.templates:
            raise DataError("There are no classes or no prompts to compare images with.")
        return [[template.replace("{}", name) for template in self.templates] for name in self.classes]


InputJudge = Callable[[Tensor, Tensor], Tensor]
"""Pixels (n, 3, h, w) in [0, 1] and their embeddings (n, d) -> scores, (n,)."""


@dataclass(frozen=True, kw_only=True)
class InputScore(ABC):
    """A score of images that are sent to a model; larger scores are more suspicious."""

    @abstractmethod
    def prepare(self, known: Known) -> InputJudge:
        """Return the function that judges a batch, each image independently of the others.

        Raises:
            DataError: something that the score needs is missing.
        """

    def to_dict(self) -> dict[str, Any]:
        """Parameters, for a manifest."""
        return dict(vars(self))
