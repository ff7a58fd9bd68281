"""SSL: images against their augmentations, captions against theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.objective import Embeddings, Term
from clipdefend.objectives.views import IMAGE_VIEWS, check_view

Sides = Literal["both", "image", "text"]


@dataclass(frozen=True, kw_only=True)
class Ssl(Term):
    """CleanCLIP's self-supervision, ``clipdefend.losses.ssl``: half the sum of an image and a text part.

    Attributes:
        image_view: the images that augmented ones are matched with; ``perturbed`` saves a view beside PAR.
        sides: ``both`` parts, or one of them, at its half: ``image`` is CleanCLIP without EDA.
        fixed_scale: leave the logit scale out of this term's training.

    Reference: Bansal et al., CleanCLIP, ICCV 2023 (arXiv:2303.03323), equation 3.
    """

    image_view: str = "clean"
    sides: Sides = "both"
    fixed_scale: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view("image_view", self.image_view, IMAGE_VIEWS, without=("augmented",))
        losses.check_choice("sides", self.sides, Sides)

    @property
    def image_views(self) -> tuple[str, ...]:
        return () if self.sides == "text" else (self.image_view, "augmented")

    @property
    def text_views(self) -> tuple[str, ...]:
        return () if self.sides == "image" else ("clean", "eda")

    def loss(self, e: Embeddings) -> Tensor:
        scale = e.logit_scale(fixed=self.fixed_scale)
        if self.sides == "image":
            return losses.info_nce(e.image[self.image_view], e.image["augmented"], scale) / 2
        if self.sides == "text":
            return losses.info_nce(e.text["clean"], e.text["eda"], scale) / 2
        return losses.ssl(
            e.image[self.image_view], e.image["augmented"], e.text["clean"], e.text["eda"], scale
        )
