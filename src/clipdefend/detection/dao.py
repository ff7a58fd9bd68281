"""The dimensionality-aware outlier score."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend.detection.lid import local_dimension
from clipdefend.detection.neighbours import Neighbours
from clipdefend.detection.pair_score import NeighbourScore, finite


@dataclass(frozen=True, kw_only=True)
class Dao(NeighbourScore):
    """How sparse the surroundings of an image are relative to its neighbours': mean of LID(j) ln(d_k(x) / d_k(j)).

    The mean is over the k neighbours j of x; LID(j) is the local intrinsic dimension at j. An image with k copies among
    the references scores 1000 or, if its neighbours have fewer copies, 0.

    Reference:
        Anderberg et al., Dimensionality-Aware Outlier Detection (SDM 2024); for CLIP, Huang et al., arXiv:2502.01385,
        https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a, dao.py.
    Deviates:
        As ``slof``. In the code a reference also counts itself, at a distance of 0, when its LID is computed.
    """

    def compare(self, near: Neighbours, own: Neighbours) -> Tensor:
        last = self.k - 1
        ratio = near.distance[:, last, None] / own.distance[near.place, last]
        return finite((local_dimension(own)[near.place] * ratio.log()).mean(dim=1))
