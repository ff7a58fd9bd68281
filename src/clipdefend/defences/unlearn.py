"""Unlearn: whatever fools the model is taught to mean what the image shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.config import TrainConfig
from clipdefend.defences.composed_defence import ComposedDefence
from clipdefend.defences.defence import Course, Phase, TrainingData
from clipdefend.defences.perturbation_bank import PerturbationBank
from clipdefend.defences.perturbations import Field, Mark, Overlay, Patch, Perturbation, Warp, WavyPatch
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.mmcl import Mmcl
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings, Term, check_fields

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Keep(Term):
    """Mean of 1 - cosine between a view and what the frozen suspect says of the clean image, 0 to 2.

    Attributes:
        image_view: ``clean`` keeps the accuracy, ``universal`` gives it back to perturbed images.
    """

    image_view: str = "clean"
    text_views = ()
    reference_image_views = ("clean",)

    @property
    def image_views(self) -> tuple[str, ...]:
        return (self.image_view,) if self.image_view == "clean" else ("clean", self.image_view)

    def loss(self, e: Embeddings) -> Tensor:
        return (1 - (e.image[self.image_view] * e.reference_image["clean"]).sum(dim=1)).mean()


@dataclass(frozen=True, kw_only=True)
class Unlearn(ComposedDefence):
    """Fine-tuning on clean pairs under universal perturbations that are made to fool the current model.

    A backdoor is a universal perturbation that the model obeys. The attacker's is unknown, but many others are obeyed
    for the same reason. A bank holds ``members`` of each kind (patches, smooth additive fields, overlays, smooth and
    fine warps), drawn at random. Each image of a batch carries one of them, and the loss is

    L = pull * mean(1 - cos(x', x)) + keep * mean(1 - cos(f(x), x)) + caption * MMCL(x', T) + method,

    where x' is the perturbed image through the model and x the clean one through the frozen suspect. After each step
    each perturbation takes a step of a fixed length along the gradient of this loss, which the training pass has
    computed anyway. No trigger, no target and no label is known. The last two parts are off by default: then the
    captions play no part, the text tower stays as it is, and what the images mean is what the suspect says.

    Attributes:
        method, terms: what is trained on the clean images besides, see ``ComposedDefence``; ``none``: nothing.
        pull, keep, caption: weights, each at least 0; ``pull`` or ``caption`` above 0.
        members: perturbations of each kind, at least 1.
        step: root mean square of a step in the free values, at least 0; 0 leaves them random.
        momentum: share of the earlier steps' direction that a step keeps, at least 0 and below 1; each batch
            has only a few images with a perturbation, whose gradient alone is noisy.
        restart: steps of the training after which a perturbation is drawn anew; 0: never.
        ramp: steps of the training over which the perturbations grow to their bounds; 0: at once.
        patch, field, overlay, warp: bounds, see ``clipdefend.defences.perturbations``; 0 leaves a kind out.
        stripes, mark: bounds of two more kinds, patches of cosine waves and opaque shapes; off by default.
        triggers: attacks that were found in the suspect, given by ``--triggers``. Together they are one more kind, at
            full strength from the first step, and take no steps themselves.

    Reference: ours. Universal perturbations: Moosavi-Dezfooli et al. 2017 (arXiv:1610.08401); adversarial training
    against universal perturbations, with the gradients of the training pass: Shafahi et al. 2020
    (arXiv:1811.11304); a defence by inverted triggers: I-BAU, Zeng
    et al. 2022 (arXiv:2110.03735).
    """

    method: str = NONE
    pull: float = 1.0
    keep: float = 3.0
    caption: float = 0.0
    members: int = 2
    step: float = 0.3
    momentum: float = 0.0
    restart: int = 40
    ramp: int = 6
    patch: float = 0.2
    field: float = 0.2
    overlay: float = 0.2
    warp: float = 0.03
    stripes: float = 0.0
    mark: float = 0.0
    triggers: tuple[Trigger, ...] = ()

    def __post_init__(self) -> None:
        if self.method != NONE:
            super().__post_init__()
        elif self.terms:
            raise ValueError(f"terms need a method, such as method: ft, but method is {NONE}")
        check_fields(self)
        for name in ("caption", "pull", "keep", "step", "restart", "ramp"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("patch", "field", "overlay", "warp", "stripes", "mark"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; it must be at least 0 and below 1")
        if self.members < 1:
            raise ValueError(f"members is {self.members}; it must be at least 1")
        if not all(isinstance(trigger, Trigger) for trigger in self.triggers):
            raise ValueError("triggers are given by --triggers RUN")
        if not self.kinds:
            raise ValueError("patch, field, overlay, warp, stripes and mark are all 0; one kind must be left")
        if not self.caption + self.pull > 0:
            raise ValueError("caption and pull are both 0; one must be above 0")

    def to_dict(self) -> dict[str, Any]:
        plain = asdict(replace(self, triggers=()))
        del plain["triggers"]
        found = [{**trigger.to_dict(), "sha256": _digest(trigger)} for trigger in self.triggers]
        return {**plain, **({"triggers": found} if found else {})}

    @property
    def kinds(self) -> list[Perturbation]:
        """The kinds of perturbations that take part."""
        made: dict[str, Callable[[float], Sequence[Perturbation]]] = {
            "patch": lambda bound: [Patch(share=bound), Patch(share=bound / 2)],
            "field": lambda bound: [Field(bound=bound), Field(bound=bound, power=5)],
            "overlay": lambda bound: [Overlay(share=bound)],
            "warp": lambda bound: [Warp(share=bound), Warp(share=bound, points=64)],
            "stripes": lambda bound: [WavyPatch(share=bound)],
            "mark": lambda bound: [Mark(share=bound)],
        }
        bounds = {name: getattr(self, name) for name in made}
        return [kind for name, bound in bounds.items() if bound > 0 for kind in made[name](bound)]

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        added: dict[str, Term] = {
            "caption": Mmcl(weight=self.caption, image_view="universal"),
            "pull": Keep(weight=self.pull, image_view="universal"),
            "keep": Keep(weight=self.keep),
        }
        own = {} if self.method == NONE else self.objective.terms
        return [
            Phase(objective=Objective({**own, **{n: term for n, term in added.items() if term.weight > 0}}))
        ]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        return PerturbationBank(
            self.kinds,
            self.members,
            triggers=self.triggers,
            step=self.step,
            momentum=self.momentum,
            restart=self.restart,
            ramp=self.ramp,
            size=data.canvas.size,
            seed=data.seed,
        )


def _digest(trigger: Trigger) -> str:
    """SHA-256 of a trigger's tensors."""
    found = hashlib.sha256()
    for name in sorted(trigger.tensors):
        found.update(trigger.tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()
