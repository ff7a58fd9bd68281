"""SigLIP's loss, which classifies each pair of image and caption independently."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.pair_term import PairTerm
from clipdefend.objectives.term import Embeddings


@dataclass(frozen=True, kw_only=True)
class Siglip(PairTerm):
    """Sigmoid loss of ``clipdefend.losses.siglip``, in place of ``mmcl`` (``--set terms.mmcl.weight=0``).

    Attributes:
        bias: use the model's logit bias if it has one; without it as in attack-cleanclip's code (weight 0.1).
        per: see the function.

    Reference: Zhai et al. 2023 (arXiv:2303.15343), equation 1; Verma et al. 2025 (arXiv:2311.14948).
    Deviates: the logit bias is not trained.
    """

    bias: bool = True
    per: losses.Per = "pair"

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.check_choice("per", self.per, losses.Per)

    def loss(self, e: Embeddings) -> Tensor:
        scale = e.logit_scale(fixed=self.fixed_scale)
        bias = e.bias if self.bias and e.bias is not None else 0.0
        return losses.siglip(e.image[self.image_view], e.text[self.text_view], scale, bias, per=self.per)
