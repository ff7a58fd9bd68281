"""MMCL: images against their captions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.pair_term import PairTerm
from clipdefend.objectives.term import Embeddings


@dataclass(frozen=True, kw_only=True)
class Mmcl(PairTerm):
    """Symmetric InfoNCE of ``clipdefend.losses.mmcl``.

    Reference: Radford et al. 2021 (arXiv:2103.00020), figure 3.
    """

    def loss(self, e: Embeddings) -> Tensor:
        scale = e.logit_scale(fixed=self.fixed_scale)
        return losses.mmcl(e.image[self.image_view], e.text[self.text_view], scale)
