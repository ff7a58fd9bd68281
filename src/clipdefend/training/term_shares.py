"""Measures the share of each term of an objective in the gradient.

Gradients are measured with respect to the embeddings. From there one backward pass carries their sum through the
towers; separating the terms at the weights would take a pass through the towers for each. The embeddings of the
global batch are available in each step, with ``--accum-freq`` and several processes too, so a measurement only costs
one more evaluation of the losses.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings
from clipdefend.training.state import Progress

SMALL = 0.01
"""Share of an epoch's gradient below which a term has hardly any effect."""


@torch.enable_grad()
def gradient_norms(objective: Objective, e: Embeddings, towers: Collection[str]) -> dict[str, float]:
    """Return the norm of each term's weighted gradient with respect to all embeddings, as one vector.

    No ``.grad`` is modified.

    Args:
        objective: the terms.
        e: embeddings of the global batch.
        towers: the towers in training; embeddings of a frozen tower are left out.

    Returns:
        Term -> norm, for the terms that have a batch in this step.
    """
    image = {view: x.detach().requires_grad_("image" in towers) for view, x in e.image.items()}
    text = {view: x.detach().requires_grad_("text" in towers) for view, x in e.text.items()}
    leaves = [x for x in (*image.values(), *text.values()) if x.requires_grad]
    fresh = replace(e, image=image, text=text, scale=e.scale.detach())
    squares: dict[str, Tensor] = {}
    for name, value in objective.values(fresh):
        squares[name] = torch.zeros((), device=e.scale.device)
        if value.requires_grad and leaves:
            weighted = objective.terms[name].weight * value
            for gradient in torch.autograd.grad(weighted, leaves, allow_unused=True):
                if gradient is not None:
                    squares[name] = squares[name] + gradient.float().square().sum()
    return {name: math.sqrt(float(square)) for name, square in squares.items()}


def towers_in_training(model: ClipModel) -> set[str]:
    """Return which of the towers, ``image`` and ``text``, have weights to train."""
    own = ("logit_scale", "logit_bias")
    names = [name for name, x in model.clip.named_parameters() if x.requires_grad and name not in own]
    return {"image" if name.startswith("visual.") else "text" for name in names}


def shares(norms: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each term: its norm divided by the sum of all norms; 0 if all are 0."""
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}


@dataclass(frozen=True)
class TermShares:
    """Chooses the steps to measure and sums the norms of an epoch.

    ``progress.norms`` holds term -> (sum of its norms, sum of all terms' norms), both over the measured steps that
    include the term: few steps of an epoch have sub-captions, and the question is whether these train there.

    Attributes:
        every: number of steps between measurements; 0 turns them off.
        progress: progress of the training run.
    """

    every: int
    progress: Progress

    def is_due(self, objective: Objective, *, subset: bool) -> bool:
        """Whether to measure the next step; steps with and without sub-captions are counted separately.

        Args:
            objective: objective of the step; a single term has nothing to compare with.
            subset: whether the step has a sub-caption batch.
        """
        if not self.every or len(objective.terms) < 2:
            return False
        extra = self.progress.extra_steps
        before = extra if subset else self.progress.global_step - extra
        return self.progress.step == 0 or before % self.every == 0

    def add(self, norms: Mapping[str, float]) -> dict[str, float]:
        """Add a measured step and return its record."""
        total = sum(norms.values())
        for name, norm in norms.items():
            own, of = self.progress.norms.get(name, (0.0, 0.0))
            self.progress.norms[name] = [own + norm, of + total]
        return {f"share_{name}": share for name, share in shares(norms).items()}

    def close(self, objective: Objective) -> tuple[dict[str, float], str | None]:
        """End an epoch; return the share of each term over it, and a warning if a term hardly had an effect."""
        found = {name: own / of if of else 0.0 for name, (own, of) in self.progress.norms.items()}
        self.progress.norms.clear()
        idle = {name: share for name, share in found.items() if share < SMALL}
        line = _warn(objective, idle) if idle and len(idle) < len(found) else None
        return {f"share_{name}": share for name, share in found.items()}, line


def _warn(objective: Objective, idle: Mapping[str, float]) -> str:
    """Return a warning that names terms and what to change."""
    named = ", ".join(f"{name} ({100 * share:.2g} %)" for name, share in idle.items())
    advice = ["a larger --batch-size"]
    if "ssl" in idle:
        advice += [
            "stronger augmentation",
            "a separate temperature, such as --set terms.ssl.temperature=0.2",
        ]
    else:
        first = next(iter(idle))
        weight = objective.terms[first].weight
        advice += [f"a larger weight, such as --set terms.{first}.weight={10 * weight:g}"]
    return (
        f"Less than 1 % of the gradient comes from {named}: the objective trains almost as if that were absent."
        f" Try {', or '.join(advice)}."
    )
