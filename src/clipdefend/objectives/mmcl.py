"""MMCL: images against their captions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.objective import Embeddings, Term
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, check_view


@dataclass(frozen=True, kw_only=True)
class Mmcl(Term):
    """Symmetric InfoNCE of ``clipdefend.losses.mmcl``.

    Attributes:
        image_view, text_view: which views are matched.
        fixed_scale: leave the logit scale out of training, as PAR does.

    Reference: Radford et al. 2021 (arXiv:2103.00020), figure 3.
    """

    image_view: str = "clean"
    text_view: str = "clean"
    fixed_scale: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view("image_view", self.image_view, IMAGE_VIEWS)
        check_view("text_view", self.text_view, TEXT_VIEWS)

    @property
    def image_views(self) -> tuple[str, ...]:
        return (self.image_view,)

    @property
    def text_views(self) -> tuple[str, ...]:
        return (self.text_view,)

    def loss(self, e: Embeddings) -> Tensor:
        scale = e.logit_scale(fixed=self.fixed_scale)
        return losses.mmcl(e.image[self.image_view], e.text[self.text_view], scale)
