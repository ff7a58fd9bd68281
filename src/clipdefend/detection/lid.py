"""The local intrinsic dimension."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend.detection.neighbours import Neighbours
from clipdefend.detection.pair_score import NeighbourScore, finite

TINY = 1e-4
"""Added to ratios of distances, so that the logarithm exists for copies."""


def local_dimension(near: Neighbours) -> Tensor:
    """Return the maximum-likelihood local intrinsic dimension, -k / sum over i of ln(d_i / d_k + 1e-4).

    Args:
        near: the k nearest references of n images.

    Returns:
        float64, shape (n,); NaN where all k distances are 0.
    """
    distance = near.distance
    return -distance.shape[1] / (distance / distance[:, -1:] + TINY).log().sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Lid(NeighbourScore):
    """The local intrinsic dimension at an image, LID(x) = -k / sum over i of ln(d_i / d_k + 1e-4).

    Reference:
        Houle, Local Intrinsic Dimensionality I (SISAP 2017), estimator of Amsaleg et al. (KDD 2015); for CLIP,
        arXiv:2502.01385, https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a, lid_detection.py.
    Deviates:
        As ``kdist``; the code divides by the distance of neighbour k + 1, and its script uses k = 64.
    """

    def compare(self, near: Neighbours, own: Neighbours) -> Tensor:
        return finite(local_dimension(near))
