"""The search for one universal trigger of a family in a frozen model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipdefend.inversion.collapse import collapse, goal_for
from clipdefend.inversion.family import Family
from clipdefend.inversion.size_weight import SizeWeight
from clipdefend.models.clip import ClipModel

CURVE_EVERY = 5
"""Number of steps between two points of the learning curve."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search.

    Attributes:
        steps: number of gradient steps.
        batch: number of images per step, taken from the fixed set in turn.
        lr: learning rate of Adam.
        share: share of the way from the clean images' collapse to 1 that a trigger must reach; see `goal_for`.
        seed: seed of the starting points.
        autocast: type of mixed precision, such as ``torch.bfloat16``; None for float32.
    """

    steps: int = 150
    batch: int = 32
    lr: float = 0.1
    share: float = 0.85
    seed: int = 0
    autocast: torch.dtype | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """Result of a search.

    Attributes:
        parameters: those of the smallest trigger that reached the goal, otherwise of the last one; on the CPU.
        size: its size, in the family's unit.
        reached: whether it reached the goal.
        goal: collapse that the trigger had to reach.
        curve: step, collapse, size and weight of the size, at every fifth step and the last.
    """

    parameters: dict[str, Tensor]
    size: float
    reached: bool
    goal: float
    curve: list[dict[str, float]]


def search(
    model: ClipModel,
    images: Tensor,
    family: Family,
    settings: SearchSettings,
    restart: int = 0,
    report: Callable[[int], None] | None = None,
) -> Search:
    """Find the smallest trigger that collapses the embeddings of the triggered images.

    Minimises -collapse(f(x')) + weight * size(trigger), by Adam with betas (0.5, 0.9); the weight follows `SizeWeight`.
    It uses no classes, texts or labels.

    Args:
        model: frozen and in evaluation mode.
        images: the fixed set in [0, 1], shape (n, 3, h, w), on the model's device.
        family: kind of trigger.
        settings: settings of the search.
        restart: number of the search, which determines its starting point.
        report: called with the number of steps just finished.

    Returns:
        The smallest trigger of all steps that reached the goal.

    Reference:
        Feng et al., DECREE (arXiv:2303.15180): objective, optimiser and schedule.

    Deviates:
        The goal is relative to the clean images (see `goal_for`); a search has a fixed number of steps; the smallest
        successful trigger is kept, not the last one.
    """
    start = family.start(images.shape[-1], settings.seed, restart)
    parameters = {name: tensor.to(images.device).requires_grad_() for name, tensor in start.items()}
    optimizer = torch.optim.Adam(list(parameters.values()), lr=settings.lr, betas=(0.5, 0.9))
    goal = goal_for(float(collapse(embed(model, images, settings))), settings.share)
    weight = SizeWeight(family.weight)
    # Gradients of single pixels underflow in half precision; Adam does not mind a factor.
    scale = 1024 if settings.autocast is torch.float16 else 1
    best: tuple[float, dict[str, Tensor]] | None = None
    curve: list[dict[str, float]] = []
    for step in range(settings.steps):
        batch = images[_turn(step, settings.batch, len(images)).to(images.device)]
        with _mixed(images.device, settings):
            embeddings = model.encode_image(family.apply(batch, parameters))
        found, size = collapse(embeddings.float()), family.measure(parameters)
        point = (float(found.detach()), float(size.detach()))
        if point[0] >= goal and (best is None or point[1] < best[0]):
            best = point[1], _copy(parameters)
        if step % CURVE_EVERY == 0 or step + 1 == settings.steps:
            curve.append({"step": step, "collapse": point[0], "size": point[1], "weight": weight.value})
        optimizer.zero_grad(set_to_none=True)
        (scale * (weight.value * size - found)).backward()
        optimizer.step()
        weight.update(point[0] >= goal)
        if report:
            report(1)
    last, parameters_at = best if best is not None else (point[1], _copy(parameters))
    return Search(parameters=parameters_at, size=last, reached=best is not None, goal=goal, curve=curve)


@torch.no_grad()
def embed(model: ClipModel, images: Tensor, settings: SearchSettings) -> Tensor:
    """Return unit embeddings of images, shape (n, d), computed in batches twice as large as those of the search."""
    with _mixed(images.device, settings):
        parts = [model.encode_image(part.to(model.device)) for part in images.split(2 * settings.batch)]
    return torch.cat(parts).float()


def _turn(step: int, batch: int, count: int) -> Tensor:
    """Return the positions of a step's images in the fixed set, which is repeated."""
    return (torch.arange(min(batch, count)) + step * batch) % count


def _copy(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in parameters.items()}


def _mixed(device: torch.device, settings: SearchSettings) -> Any:
    return torch.autocast(
        device.type, dtype=settings.autocast or torch.bfloat16, enabled=settings.autocast is not None
    )
