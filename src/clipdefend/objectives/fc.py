"""FC: images against factual and counterfactual sub-captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clipdefend import losses
from clipdefend.objectives.term import Embeddings, Term

Positive = Literal["factual", "caption"]


@dataclass(frozen=True, kw_only=True)
class FactualCounterfactual(Term):
    """CleanerCLIP's loss on the sub-caption batch, ``clipdefend.losses.factual_counterfactual``.

    Attributes:
        tau_positive, tau_negative, denominator, t2i_negatives, combine, form, gradient: see the function.
        positive: ``factual`` sub-captions, or the whole ``caption`` (the ablation with counterfactuals only; the
            ablation with factuals only is ``denominator="positives"``).
        fixed_scale: do not train the logit scale by this term; only ``mosaic`` uses the scale.

    Reference: CleanerCLIP (arXiv:2409.17601), equations 1-4, tau of section 4.3.
    Deviates: we only know the equations in words; see the function.
    """

    tau_positive: float = losses.TAU
    tau_negative: float = losses.TAU
    denominator: losses.Denominator = "all"
    t2i_negatives: losses.T2INegatives = "images"
    combine: losses.Combine = "mean"
    form: losses.Form = "infonce"
    gradient: losses.GradientSide = "both"
    positive: Positive = "factual"
    fixed_scale: bool = False

    subset = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (
            ("denominator", losses.Denominator),
            ("t2i_negatives", losses.T2INegatives),
            ("combine", losses.Combine),
            ("form", losses.Form),
            ("gradient", losses.GradientSide),
            ("positive", Positive),
        ):
            losses.check_choice(name, getattr(self, name), allowed)
        losses.check_positive(tau_positive=self.tau_positive, tau_negative=self.tau_negative)
        if self.form == "mosaic":
            # A setting without an effect would make a sweep over it look flat.
            for name in ("tau_positive", "tau_negative", "denominator", "t2i_negatives"):
                if getattr(self, name) != getattr(type(self), name):
                    raise ValueError(
                        f"{name} has no effect on the form 'mosaic'; leave it out or use 'infonce'"
                    )

    @property
    def image_views(self) -> tuple[str, ...]:
        return ("subset",)

    @property
    def text_views(self) -> tuple[str, ...]:
        return (self.positive, "counterfactual")

    def loss(self, e: Embeddings) -> Tensor:
        return losses.factual_counterfactual(
            e.image["subset"],
            e.text[self.positive],
            e.text["counterfactual"],
            self.tau_positive,
            self.tau_negative,
            denominator=self.denominator,
            t2i_negatives=self.t2i_negatives,
            combine=self.combine,
            form=self.form,
            gradient=self.gradient,
            scale=e.logit_scale(fixed=self.fixed_scale),
        )
