"""PAR: moves embeddings away from those of the frozen suspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.term import Embeddings, Term
from clipdefend.objectives.views import IMAGE_VIEWS, check_view

Sides = Literal["both", "image", "text"]


@dataclass(frozen=True, kw_only=True)
class PerturbRecover(Term):
    """-(D_image + D_text) / 2, with D the bounded distance of ``clipdefend.losses.perturb_recover_distance``.

    Its value is negative, and lower the farther the model is from the victim, which embeds the same views. The
    published method is this term with weight 1 and MMCL on the same perturbed images (method ``par``).

    Attributes:
        tau: bound on D, at most 4.
        cutoff: ``threshold`` as published, or ``smooth``.
        width: width of ``smooth``.
        image_view: view that both models embed; sharing a view with another term saves a pass through both.
        sides: ``both`` distances, or only one of them, still halved.

    Reference: Perturb and Recover (arXiv:2412.00727) and its code
    (https://github.com/nmndeep/PerturbAndRecover, losses.py and train.py).
    """

    tau: float = 2.15
    cutoff: losses.Cutoff = "threshold"
    width: float = 0.1
    image_view: str = "perturbed"
    sides: Sides = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.check_choice("cutoff", self.cutoff, losses.Cutoff)
        check_view("image_view", self.image_view, IMAGE_VIEWS)
        losses.check_choice("sides", self.sides, Sides)
        losses.check_positive(tau=self.tau, width=self.width)

    @property
    def image_views(self) -> tuple[str, ...]:
        return () if self.sides == "text" else (self.image_view,)

    @property
    def text_views(self) -> tuple[str, ...]:
        return () if self.sides == "image" else ("clean",)

    @property
    def reference_image_views(self) -> tuple[str, ...]:
        return self.image_views

    @property
    def reference_text_views(self) -> tuple[str, ...]:
        return self.text_views

    def loss(self, e: Embeddings) -> Tensor:
        pairs = [(e.image[view], e.reference_image[view]) for view in self.image_views]
        pairs += [(e.text[view], e.reference_text[view]) for view in self.text_views]
        distances = [
            losses.perturb_recover_distance(
                embedding, reference, self.tau, cutoff=self.cutoff, width=self.width
            )
            for embedding, reference in pairs
        ]
        return -sum(distances[1:], start=distances[0]) / 2
