"""Unlearn: whatever fools the model is taught to mean what the image shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from clipdefend.attacks.patterns import normal
from clipdefend.attacks.trigger import Trigger
from clipdefend.config import TrainConfig
from clipdefend.data.image_reader import read_canvases
from clipdefend.defences.composed_defence import ComposedDefence
from clipdefend.defences.defence import Course, Phase, Step, TrainingData
from clipdefend.defences.perturbations import Field, Overlay, Patch, Perturbation, Warp
from clipdefend.draws import draw_seed, permutation
from clipdefend.errors import DataError
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.objectives.mmcl import Mmcl
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings, Term, check_fields

LEAST = 4
"""Images that a universal perturbation is made on, at least."""


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


def goal(perturbed: Tensor, clean: Tensor) -> Tensor:
    """How well a universal perturbation does what a trigger does: one direction for all images, away from their own.

    Args:
        perturbed, clean: unit vectors of the same images, shape (n, d).

    Returns:
        |mean(perturbed)|^2 - mean(cosine of perturbed and clean), a scalar from -1 to 2.
    """
    return perturbed.mean(dim=0).square().sum() - (perturbed * clean).sum(dim=1).mean()


class PerturbationBank(Course):
    """Perturbations of several kinds, one of which takes a step against the model after each step of the training.

    All processes hold the same bank and change it by the same images, so that it does not depend on how a batch is
    split.

    Args:
        defence: the parameters.
        images: that perturbations are made on, uint8, shape (n, 3, size, size).
        seed: of the run.
    """

    images: Tensor
    steps: Tensor

    def __init__(self, defence: Unlearn, images: Tensor, seed: int) -> None:
        super().__init__()
        self.defence, self.seed = defence, seed
        self.kinds = defence.kinds
        self.register_buffer("images", images)
        self.register_buffer("steps", torch.tensor(0))
        for number, kind in enumerate(self.kinds):
            members = [self._draw(number, kind, member, 0) for member in range(defence.members)]
            self.register_buffer(f"values{number}", torch.stack(members))

    def _draw(self, number: int, kind: Perturbation, member: int, age: int) -> Tensor:
        shape = kind.shape(self.images.shape[-1])
        return normal(shape, self.seed, "unlearn", number, member, age)

    @property
    def strength(self) -> float:
        """Factor of the bounds: rises from 0 to 1 over the first ``ramp`` steps."""
        return min(1.0, (int(self.steps) + 1) / self.defence.ramp) if self.defence.ramp else 1.0

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"universal": self.perturb}

    def perturb(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Put a perturbation that each seed chooses on each image, shape (n, 3, h, w)."""
        made = torch.empty_like(images)
        triggers = self.defence.triggers
        count = len(self.kinds) + bool(triggers)
        for number, trigger in enumerate(triggers):
            places = [
                place
                for place, seed in enumerate(seeds)
                if seed % count == len(self.kinds) and seed // count % len(triggers) == number
            ]
            if places:
                made[places] = trigger(images[places], [draw_seed(seeds[place], "place") for place in places])
        for number, kind in enumerate(self.kinds):
            places = [place for place, seed in enumerate(seeds) if seed % count == number]
            if places:
                own = [seeds[place] // count for place in places]
                values = self.get_buffer(f"values{number}")[[seed % self.defence.members for seed in own]]
                made[places] = kind.apply(
                    images[places], values, [draw_seed(seed, "place") for seed in own], self.strength
                )
        return made

    def after_step(self, model: ClipModel, step: Step) -> None:
        count, turn = len(self.kinds), int(self.steps)
        number, member = turn % count, (turn // count) % self.defence.members
        updates = turn // (count * self.defence.members)
        values = self.get_buffer(f"values{number}")
        if self.defence.restart and updates and updates % self.defence.restart == 0:
            values[member] = self._draw(number, self.kinds[number], member, updates).to(values)
        elif self.defence.step > 0:
            values[member] += self.defence.step * self._direction(model, number, values[member], turn).sign()
        self.steps += 1

    def _direction(self, model: ClipModel, number: int, values: Tensor, turn: int) -> Tensor:
        """Gradient of the goal in the values of one perturbation, on the next images in turn."""
        size = min(self.defence.inner_batch, len(self.images))
        chosen = (torch.arange(size) + turn * size) % len(self.images)
        images = self.images[chosen.to(self.images.device)].float() / 255
        seeds = [draw_seed(self.seed, "unlearn place", turn, place) for place in chosen.tolist()]
        with torch.enable_grad(), evaluating(model):
            free = values.clone().requires_grad_()
            shared = free.expand(size, *free.shape)
            perturbed = model.encode_image(self.kinds[number].apply(images, shared, seeds, self.strength))
            with torch.no_grad():
                clean = model.encode_image(images)
            (gradient,) = torch.autograd.grad(goal(perturbed.float(), clean.float()), free)
        return gradient


@dataclass(frozen=True, kw_only=True)
class Unlearn(ComposedDefence):
    """Fine-tuning on clean pairs under universal perturbations that are made to fool the current model.

    A backdoor is a universal perturbation that the model obeys. The attacker's is unknown, but many others are obeyed
    for the same reason. A bank holds ``members`` of each kind (patches, smooth additive fields, overlays, smooth and
    fine warps), drawn at random. After each step of the training one of them takes a signed gradient step towards
    ``goal``. Each image of a batch carries one of them, and the loss is

    L = method + caption * MMCL(x', T) + pull * mean(1 - cos(x', x)) + keep * mean(1 - cos(f(x), x)),

    where x' is the perturbed image through the model and x the clean one through the frozen suspect. No trigger, no
    target and no label is known.

    Attributes:
        method, terms: what is trained on the clean images; see ``ComposedDefence``.
        caption, pull, keep: weights, each at least 0; one of the first two above 0.
        members: perturbations of each kind, at least 1.
        step: length of a signed step in the free values, at least 0; 0 leaves them random.
        restart: updates after which a perturbation is drawn anew; 0: never.
        inner_batch: images of such a step, at least 4.
        ramp: steps of the training over which the perturbations grow to their bounds; 0: at once.
        patch, field, overlay, warp: bounds, see ``clipdefend.defences.perturbations``; 0 leaves a kind out.
        triggers: attacks that were found in the suspect, given by ``--triggers``. Together they are one more kind, at
            full strength from the first step, and take no steps themselves.

    Reference: ours. Universal perturbations: Moosavi-Dezfooli et al. 2017 (arXiv:1610.08401); adversarial training
    against universal perturbations: Shafahi et al. 2020 (arXiv:1811.11304); a defence by inverted triggers: I-BAU, Zeng
    et al. 2022 (arXiv:2110.03735).
    """

    method: str = "ft"
    caption: float = 0.5
    pull: float = 1.0
    keep: float = 3.0
    members: int = 8
    step: float = 0.3
    restart: int = 10
    inner_batch: int = 16
    ramp: int = 30
    patch: float = 0.125
    field: float = 0.2
    overlay: float = 0.2
    warp: float = 0.03
    triggers: tuple[Trigger, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self)
        for name in ("caption", "pull", "keep", "step", "restart", "ramp"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("patch", "field", "overlay", "warp"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if self.members < 1 or self.inner_batch < LEAST:
            raise ValueError(f"members must be at least 1 and inner_batch at least {LEAST}")
        if not all(isinstance(trigger, Trigger) for trigger in self.triggers):
            raise ValueError("triggers are given by --triggers RUN")
        if not self.kinds:
            raise ValueError("patch, field, overlay and warp are all 0; one kind must be left")
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
            "field": lambda bound: [Field(bound=bound)],
            "overlay": lambda bound: [Overlay(share=bound)],
            "warp": lambda bound: [Warp(share=bound), Warp(share=bound, points=64)],
        }
        bounds = {name: getattr(self, name) for name in made}
        return [kind for name, bound in bounds.items() if bound > 0 for kind in made[name](bound)]

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        added: dict[str, Term] = {
            "caption": Mmcl(weight=self.caption, image_view="universal"),
            "pull": Keep(weight=self.pull, image_view="universal"),
            "keep": Keep(weight=self.keep),
        }
        terms = {**self.objective.terms, **{name: term for name, term in added.items() if term.weight > 0}}
        return [Phase(objective=Objective(terms))]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        wanted = 4 * self.inner_batch
        drawn = permutation(len(data.pairs), data.seed, "unlearn images")[: 2 * wanted].tolist()
        # Unusable images are counted where the pairs are trained on, not here.
        found = [pixels for _, pixels in islice(read_canvases(data.pairs, drawn, data.canvas), wanted)]
        if len(found) < LEAST:
            raise DataError(
                f"Only {len(found)} images of {data.pairs.spec!r} can be used, and unlearn makes its perturbations"
                f" on at least {LEAST}."
            )
        return PerturbationBank(self, torch.stack(found), data.seed)


def _digest(trigger: Trigger) -> str:
    """SHA-256 of a trigger's tensors."""
    found = hashlib.sha256()
    for name in sorted(trigger.tensors):
        found.update(trigger.tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()
