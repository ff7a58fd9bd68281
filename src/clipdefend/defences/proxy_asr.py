"""A proxy for the success rate of an unknown attack: that of perturbations which are made to fool the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.attacks.patterns import normal
from clipdefend.defences.perturbations import Field, Overlay, Patch, Perturbation, Warp
from clipdefend.draws import draw_seed
from clipdefend.inversion.concentration import concentrate
from clipdefend.models.clip import ClipModel, evaluating

KINDS: Mapping[str, Perturbation] = {
    "patch": Patch(share=0.125),
    "field": Field(bound=0.1),
    "overlay": Overlay(share=0.1),
    "warp": Warp(share=0.03),
}
"""The kinds of perturbations, as in ``unlearn``, with smaller bounds for all but warps: at its bounds fields and
overlays succeed against clean models too."""


def goal(perturbed: Tensor, clean: Tensor) -> Tensor:
    """How well a universal perturbation does what a trigger does: one direction for all images, away from their own.

    Args:
        perturbed, clean: unit vectors of the same images, shape (n, d).

    Returns:
        |mean(perturbed)|^2 - mean(cosine of perturbed and clean), a scalar from -1 to 2.
    """
    return perturbed.mean(dim=0).square().sum() - (perturbed * clean).sum(dim=1).mean()


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """How hard perturbations are made to fool a model.

    Attributes:
        steps: signed gradient steps on each perturbation.
        members: perturbations of each kind, from different random starts.
        batch: images of a step, taken in turn.
        step: length of a step in the free values.
        seed: of the starting points and places.
    """

    steps: int = 20
    members: int = 2
    batch: int = 32
    step: float = 0.3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ProxyAsr:
    """The proxy of one model.

    Attributes:
        value: the largest share of all perturbations, 0 to 1.
        kind: of the perturbation that has it.
        target: index of the class that it sends images to.
        kinds: kind -> the largest share of its perturbations.
    """

    value: float
    kind: str
    target: int
    kinds: dict[str, float]


def proxy_asr(
    model: ClipModel,
    texts: Tensor,
    images: Tensor,
    held_out: Tensor,
    settings: ProxySettings,
    report: Callable[[int], None] | None = None,
) -> ProxyAsr:
    """Make universal perturbations against a model and measure the best of them as if it were a trigger.

    Each of ``members`` perturbations of each kind in ``KINDS`` starts from N(0, 1) and takes ``steps`` signed steps
    that raise ``goal`` on ``images``. On ``held_out``, the class that most perturbed images
    go to counts as its target, and its success rate is the share of images of other classes, by what the model says of
    them without the perturbation, that go there; 1 if there are none. No trigger, target or label is known.

    Args:
        model: in any mode, on its device; parameters are not changed.
        texts: class texts of this model, unit vectors, shape (classes, d), on its device.
        images: to make perturbations on, in [0, 1], shape (n, 3, size, size), on its device.
        held_out: to measure on, likewise; none of ``images``.
        settings: how hard.
        report: called with the number of steps done.

    Returns:
        The largest success rate. For a clean model it is not 0: every model has universal perturbations.
    """
    shares: dict[str, float] = {}
    best: tuple[float, str, int] = (-1.0, "", 0)
    with evaluating(model):
        clean = _embed(model, held_out, settings.batch) @ texts.T
        # A batch of images has the same clean embeddings whenever its turn comes.
        own = _embed(model, images, settings.batch)
        for name, kind in KINDS.items():
            for member in range(settings.members):
                values = _make(model, kind, (name, member), images, own, settings, report)
                perturbed = _perturb(kind, held_out, values, _places(settings, "held out", len(held_out)))
                found = concentrate(clean, _embed(model, perturbed, settings.batch) @ texts.T)
                # A collapsed model, which sends all clean images to one class, must not pass for a clean one.
                share = found.share if found.count else 1.0
                shares[name] = max(shares.get(name, 0.0), share)
                best = max(best, (share, name, found.target), key=lambda each: each[0])
    value, name, target = best
    return ProxyAsr(value=value, kind=name, target=target, kinds=shares)


def _make(
    model: ClipModel,
    kind: Perturbation,
    keys: tuple[str, int],
    images: Tensor,
    own: Tensor,
    settings: ProxySettings,
    report: Callable[[int], None] | None,
) -> Tensor:
    """Return the free values of one perturbation after its steps."""
    values = normal(kind.shape(images.shape[-1]), settings.seed, "proxy", *keys).to(images.device)
    size = min(settings.batch, len(images))
    for step in range(settings.steps):
        rows = (torch.arange(size) + step * size) % len(images)
        places = _places(settings, step, size)
        free = values.clone().requires_grad_()
        with torch.enable_grad():
            perturbed = model.encode_image(_perturb(kind, images[rows], free, places))
            (gradient,) = torch.autograd.grad(goal(perturbed.float(), own[rows]), free)
        values += settings.step * gradient.sign()
        if report:
            report(1)
    return values


def _perturb(kind: Perturbation, images: Tensor, values: Tensor, places: Sequence[int]) -> Tensor:
    """Put one perturbation on all images."""
    return kind.apply(images, values.expand(len(images), *values.shape), places, 1.0)


def _places(settings: ProxySettings, of: int | str, count: int) -> list[int]:
    return [draw_seed(settings.seed, "proxy place", of, number) for number in range(count)]


@torch.no_grad()
def _embed(model: ClipModel, images: Tensor, batch: int) -> Tensor:
    return torch.cat([model.encode_image(part).float() for part in images.split(2 * batch)])
