"""LoREx: the direction in which judged embeddings vary more than trusted ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clipdefend.detection.pair_score import Basis, PairScore, Prepared
from clipdefend.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Whitening by trusted embeddings and the first eigenvector of the whitened embeddings.

    Attributes:
        mean: mean of the trusted embeddings, shape (d,).
        direction: whitening applied to that eigenvector, shape (d,), so that a score is one product.
        ratio: ratio of the two largest eigenvalues. Near 1 no direction stands out, and the scores mean little.
    """

    mean: Tensor
    direction: Tensor
    ratio: float

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Return |(z - mean) W v| of embeddings (n, d), float64, shape (n,)."""
        return ((embeddings.double() - self.mean) @ self.direction).abs()


def fit_projection(trusted: Tensor, mixed: Tensor, ridge: float) -> Projection:
    """Find the direction of the largest excess variance.

    W = U (L + e I)^(-1/2) U^T with U, L the eigenvectors and eigenvalues of the trusted covariance and e = ``ridge``
    times their mean; v is the first eigenvector of the covariance of (mixed - mean) W.

    Args:
        trusted: embeddings of clean images, shape (t, d), t at least 2.
        mixed: embeddings of the judged images, shape (m, d), m at least 2.
        ridge: added to the trusted covariance, relative to its mean eigenvalue.

    Raises:
        DataError: a side has fewer than two embeddings, or all trusted ones are equal.
    """
    if min(len(trusted), len(mixed)) < 2:
        raise DataError(
            f"lorex cannot compare {len(trusted)} trusted with {len(mixed)} other images: give more."
        )
    mean = trusted.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((trusted.double() - mean).T))
    level = float(values.clamp(min=0).mean())
    if level <= 0:
        raise DataError("lorex needs trusted images that differ, but all of them have the same embedding.")
    whitening = vectors @ torch.diag((values.clamp(min=0) + ridge * level).rsqrt()) @ vectors.T
    spread, axes = torch.linalg.eigh(torch.cov(((mixed.double() - mean) @ whitening).T))
    ratio = float(spread[-1] / spread[-2]) if len(spread) > 1 and float(spread[-2]) > 0 else float("inf")
    return Projection(mean=mean, direction=whitening @ axes[:, -1], ratio=ratio)


@dataclass(frozen=True, kw_only=True)
class Lorex(PairScore):
    """The absolute projection of the whitened embedding onto the direction of the largest excess variance.

    It needs clean pairs from the same source: another source differs in a direction of its own, which would be mistaken
    for the backdoor's. ``ratio``, of the two largest eigenvalues, says how clearly the direction stands out.

    Attributes:
        ridge: added to the trusted covariance, relative to its mean eigenvalue.

    Reference:
        LoREx, section "Method" of main.tex, https://github.com/calibretaliation/LoREx at e0787e8.
    Deviates:
        The covariance of the judged embeddings is that of a fixed draw of them.
    """

    needs_trusted: ClassVar[bool] = True

    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise ValueError(f"ridge is {self.ridge}; it must be above 0")

    def prepare(self, basis: Basis) -> Prepared:
        if basis.trusted is None:
            raise DataError("lorex needs pairs that are known to be clean: give them with --trusted DATA.")
        projection = fit_projection(basis.trusted, basis.sample, self.ridge)
        return Prepared(judge=lambda pairs: projection(pairs.image), facts={"ratio": projection.ratio})
