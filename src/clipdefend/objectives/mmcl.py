"""MMCL: images against their captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.objective import Embeddings, Term

ImageView = Literal["clean", "augmented", "perturbed"]
TextView = Literal["clean", "eda"]


@dataclass(frozen=True, kw_only=True)
class Mmcl(Term):
    """Symmetric InfoNCE of ``clipdefend.losses.mmcl``.

    Attributes:
        image_view, text_view: which views are matched.
        fixed_scale: leave the logit scale out of training, as PAR does.

    Reference: Radford et al. 2021 (arXiv:2103.00020), figure 3.
    """

    image_view: ImageView = "clean"
    text_view: TextView = "clean"
    fixed_scale: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.check_choice("image_view", self.image_view, ImageView)
        losses.check_choice("text_view", self.text_view, TextView)

    @property
    def image_views(self) -> tuple[str, ...]:
        return (self.image_view,)

    @property
    def text_views(self) -> tuple[str, ...]:
        return (self.text_view,)

    def loss(self, e: Embeddings) -> Tensor:
        scale = e.logit_scale(fixed=self.fixed_scale)
        return losses.mmcl(e.image[self.image_view], e.text[self.text_view], scale)
