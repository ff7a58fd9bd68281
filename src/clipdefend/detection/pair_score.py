"""Interface of pair scores: prepared once from a fixed set of pairs, then pure functions of embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from clipdefend.detection.neighbours import Neighbours, nearest_among


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Embeddings of some pairs.

    Attributes:
        rows: row of each pair, int64, shape (n,); pairs with the same row are the same pair.
        image: outputs of the image tower, not normalised, shape (n, d).
        text: unit vectors of the captions, shape (n, d); None if no score needs them.
        clean_image, clean_text: those of a clean reference model, in its own dimension; None without one.
    """

    rows: Tensor
    image: Tensor
    text: Tensor | None = None
    clean_image: Tensor | None = None
    clean_text: Tensor | None = None
    _found: dict[int, Neighbours] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def neighbours(self, references: Embedded, k: int) -> Neighbours:
        """Return the k nearest references of each image other than itself; computed once for all scores."""
        if k not in self._found:
            own = references.places_of(self.rows)
            self._found[k] = nearest_among(self.image, references.image, k, own)
        return self._found[k]

    def places_of(self, rows: Tensor) -> Tensor:
        """Return the position of each row among these pairs, or -1; int64, of the shape of ``rows``."""
        order = torch.argsort(self.rows)
        places = torch.searchsorted(self.rows[order], rows).clamp(max=len(self) - 1)
        found = order[places]
        return torch.where(self.rows[found] == rows, found, -1)


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The fixed pairs that scores are prepared from.

    Attributes:
        references: pairs among which neighbours and negatives are found.
        sample: image embeddings of a larger draw of the judged pairs, shape (m, d).
        trusted: image embeddings of clean pairs, shape (t, d); None without them.
        scale: the model's logit scale.
    """

    references: Embedded
    sample: Tensor
    trusted: Tensor | None = None
    scale: float = 100.0


Judge = Callable[[Embedded], Tensor]
"""Embeddings of n pairs -> their scores, float64, shape (n,)."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A score that is ready to judge pairs, and facts about its preparation for the manifest."""

    judge: Judge
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PairScore(ABC):
    """A score of image-caption pairs; larger scores are more suspicious.

    Attributes:
        needs_text: whether it reads captions.
        needs_trusted: whether it needs pairs that are known to be clean.
    """

    needs_text: ClassVar[bool] = False
    needs_trusted: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, basis: Basis) -> Prepared:
        """Return the function that judges pairs. Raises DataError if the basis is too small."""

    @property
    def least_references(self) -> int:
        """Smallest number of references."""
        return 1


@dataclass(frozen=True, kw_only=True)
class NeighbourScore(PairScore):
    """A score that compares an image with its k nearest references.

    Attributes:
        k: number of neighbours, at least 2.
    """

    k: int = 16

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"k is {self.k}; it must be at least 2")

    @property
    def least_references(self) -> int:
        return self.k + 1

    def prepare(self, basis: Basis) -> Prepared:
        references = basis.references
        own = references.neighbours(references, self.k)
        return Prepared(judge=lambda pairs: self.compare(pairs.neighbours(references, self.k), own))

    @abstractmethod
    def compare(self, near: Neighbours, own: Neighbours) -> Tensor:
        """Return the scores of n images.

        Args:
            near: the k nearest references of each image.
            own: the k nearest other references of each reference.

        Returns:
            float64, shape (n,).
        """


MOST = 1000.0
"""Score of an image whose comparison divides by a distance of 0, because it has k copies among the references."""


def finite(scores: Tensor) -> Tensor:
    """Replace NaN and infinity by ``MOST`` and minus infinity by 0, as the published code does."""
    return torch.nan_to_num(scores, nan=MOST, posinf=MOST, neginf=0.0)
