"""Collapse: how similar embeddings are to each other, which a universal trigger increases."""

from __future__ import annotations

from torch import Tensor


def collapse(embeddings: Tensor) -> Tensor:
    """Return the mean cosine of all pairs of different embeddings.

    Args:
        embeddings: unit vectors, shape (n, d), n at least 2.

    Returns:
        A scalar from -1 / (n - 1) to 1: (|sum of all|^2 - n) / (n (n - 1)).

    Reference:
        Feng et al., DECREE (arXiv:2303.15180), the first term of its objective.
    """
    count, total = len(embeddings), embeddings.sum(dim=0)
    return (total @ total - count) / (count * (count - 1))


def goal_for(clean: float, share: float) -> float:
    """Return the collapse that a trigger must reach: a share of the way from that of the clean images to 1.

    Args:
        clean: collapse of the clean images.
        share: 0 to 1.

    Deviates:
        DECREE asks for 0.99 whatever the collapse of the clean images. CLIP models differ in how similar their
        embeddings are, and a planted trigger of 95 % success need not reach 0.99: on the built-in victims it reaches
        0.78 to 0.98.
    """
    return clean + share * (1 - clean)
