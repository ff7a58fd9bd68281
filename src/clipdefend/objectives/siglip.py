"""SigLIP's loss: every image against every caption by itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.objective import Embeddings, Term
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, check_view


@dataclass(frozen=True, kw_only=True)
class Siglip(Term):
    """Sigmoid loss of ``clipdefend.losses.siglip``, in place of ``mmcl`` (``--set terms.mmcl.weight=0``).

    Attributes:
        image_view, text_view: which views are matched.
        bias: use the model's logit bias where it has one; off: none, as in attack-cleanclip's code (weight 0.1).
        per: see the function.
        fixed_scale: leave the logit scale out of this term's training.

    Reference: Zhai et al. 2023 (arXiv:2303.15343), equation 1; Verma et al. 2025 (arXiv:2311.14948).
    Deviates: the logit bias keeps the value that the model came with.
    """

    image_view: str = "clean"
    text_view: str = "clean"
    bias: bool = True
    per: losses.Per = "pair"
    fixed_scale: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view("image_view", self.image_view, IMAGE_VIEWS)
        check_view("text_view", self.text_view, TEXT_VIEWS)
        losses.check_choice("per", self.per, losses.Per)

    @property
    def image_views(self) -> tuple[str, ...]:
        return (self.image_view,)

    @property
    def text_views(self) -> tuple[str, ...]:
        return (self.text_view,)

    def loss(self, e: Embeddings) -> Tensor:
        scale = e.logit_scale(fixed=self.fixed_scale)
        bias = e.bias if self.bias and e.bias is not None else 0.0
        return losses.siglip(e.image[self.image_view], e.text[self.text_view], scale, bias, per=self.per)
