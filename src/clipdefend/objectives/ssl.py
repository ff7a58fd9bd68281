"""SSL: matches images with their augmentations, and captions with theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.term import Embeddings, Term
from clipdefend.objectives.views import IMAGE_VIEWS, check_view

Sides = Literal["both", "image", "text"]


@dataclass(frozen=True, kw_only=True)
class Ssl(Term):
    """CleanCLIP's self-supervision, ``clipdefend.losses.ssl``: half the sum of an image and a text part.

    Attributes:
        image_view: view to match augmented images with; ``perturbed`` saves a view if combined with PAR.
        sides: ``both`` parts, or only one of them, still halved: ``image`` is CleanCLIP without EDA.
        fixed_scale: do not train the logit scale by this term.
        temperature: divides the cosines of this term, > 0, in place of the logit scale.
            None, as published, uses the scale of the model, which in a trained CLIP (47 to 100, a temperature of
            0.01 to 0.02) can saturate the term.

    Reference: Bansal et al., CleanCLIP, ICCV 2023 (arXiv:2303.03323), equation 3. Deviates: ``temperature`` is ours.
    """

    image_view: str = "clean"
    sides: Sides = "both"
    fixed_scale: bool = False
    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view("image_view", self.image_view, IMAGE_VIEWS, without=("augmented",))
        losses.check_choice("sides", self.sides, Sides)
        if self.temperature is not None:
            losses.check_positive(temperature=self.temperature)

    @property
    def image_views(self) -> tuple[str, ...]:
        return () if self.sides == "text" else (self.image_view, "augmented")

    @property
    def text_views(self) -> tuple[str, ...]:
        return () if self.sides == "image" else ("clean", "eda")

    def loss(self, e: Embeddings) -> Tensor:
        scale: Tensor | float = e.logit_scale(fixed=self.fixed_scale)
        if self.temperature is not None:
            scale = 1 / self.temperature
        if self.sides == "image":
            return losses.info_nce(e.image[self.image_view], e.image["augmented"], scale) / 2
        if self.sides == "text":
            return losses.info_nce(e.text["clean"], e.text["eda"], scale) / 2
        return losses.ssl(
            e.image[self.image_view], e.image["augmented"], e.text["clean"], e.text["eda"], scale
        )
