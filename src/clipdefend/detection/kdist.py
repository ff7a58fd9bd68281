"""The distance to the k-th neighbour."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend.detection.neighbours import Neighbours
from clipdefend.detection.pair_score import NeighbourScore


@dataclass(frozen=True, kw_only=True)
class KDistance(NeighbourScore):
    """Distance to the k-th nearest reference, d_k(x). Poisoned images lie in sparse regions.

    Reference:
        Ramaswamy et al., Efficient Algorithms for Mining Outliers from Large Data Sets (SIGMOD 2000); for CLIP,
        Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining (ICLR 2025,
        arXiv:2502.01385), https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a, k_distance.py.
    Deviates:
        A fixed draw of reference images replaces the images and captions of the batch; the k-th neighbour is used,
        whereas the code uses the next one, having removed the image itself first.
    """

    def compare(self, near: Neighbours, own: Neighbours) -> Tensor:
        return near.distance[:, self.k - 1]
