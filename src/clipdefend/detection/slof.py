"""The simplified local outlier factor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend.detection.neighbours import Neighbours
from clipdefend.detection.pair_score import NeighbourScore, finite


@dataclass(frozen=True, kw_only=True)
class Slof(NeighbourScore):
    """How sparse the surroundings of an image are relative to its neighbours': mean of d_k(x) / d_k(j).

    The mean is over the k neighbours j of x, and about 1 inside a cluster. An image with k copies among the references
    scores 1000.

    Reference:
        Schubert et al., Local Outlier Detection Reconsidered (DMKD 2014); for CLIP, arXiv:2502.01385,
        https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a, slof.py.
    Deviates:
        As ``kdist``. The code also looks up d_k of the neighbours one position too far after the image itself.
    """

    def compare(self, near: Neighbours, own: Neighbours) -> Tensor:
        last = self.k - 1
        return finite((near.distance[:, last, None] / own.distance[near.place, last]).mean(dim=1))
