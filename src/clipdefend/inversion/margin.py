"""The maximum-margin statistic (MM-BD): a test for a backdoor that needs no images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipdefend.attacks.patterns import uniform
from clipdefend.models.clip import ClipModel

SMALLEST = 1e-6
"""Margins below it count as this: the Gamma distribution has positive values only."""


@dataclass(frozen=True, kw_only=True)
class MarginSettings:
    """Settings of the maximisation.

    Attributes:
        starts: number of random images per class.
        steps: number of gradient steps.
        lr: learning rate of SGD with momentum 0.9, on pixels in [0, 1] and cosines times 100.
        batch: number of images per forward pass.
        seed: seed of the random images.
    """

    starts: int = 2
    steps: int = 60
    lr: float = 0.05
    batch: int = 64
    seed: int = 0


def margins(cosines: Tensor, wanted: Tensor) -> Tensor:
    """Return, for each image, the cosine with the wanted class minus the largest cosine with any other class.

    Args:
        cosines: shape (n, classes), at least 2 classes.
        wanted: class of each image, int64, shape (n,).

    Returns:
        Shape (n,).
    """
    own = cosines.gather(1, wanted[:, None])[:, 0]
    others = cosines.scatter(1, wanted[:, None], -math.inf).amax(dim=1)
    return own - others


def maximum_margins(
    model: ClipModel, texts: Tensor, settings: MarginSettings, report: Callable[[int], None] | None = None
) -> list[float]:
    """Maximise the margin of each class over images that start as noise.

    Args:
        model: frozen and in evaluation mode.
        texts: class texts, unit vectors, shape (classes, d), on the model's device.
        settings: settings of the maximisation.
        report: called with the number of classes just finished.

    Returns:
        The largest margin of each class, in cosines.

    Reference:
        Wang et al., MM-BD: Post-Training Detection of Backdoor Attacks with Arbitrary Backdoor Pattern Types Using a
        Maximum Margin Statistic, IEEE S&P 2024 (arXiv:2205.06900), and ``univ_bd.py`` of its release.

    Deviates:
        MM-BD uses 30 starts and 300 steps; the margins of a CLIP model are differences of cosines, bounded by 2.
    """
    size = model.image_size
    per = max(1, settings.batch // settings.starts)
    found: list[float] = []
    for classes in torch.arange(len(texts)).split(per):
        noise = [
            uniform((3, size, size), settings.seed, "margin", int(c), k)
            for c in classes
            for k in range(settings.starts)
        ]
        images = torch.stack(noise).to(texts.device).requires_grad_()
        wanted = classes.repeat_interleave(settings.starts).to(texts.device)
        optimizer = torch.optim.SGD([images], lr=settings.lr, momentum=0.9)
        best = torch.full((len(wanted),), -math.inf, device=texts.device)
        for _ in range(settings.steps):
            values = margins(model.encode_image(images) @ texts.T, wanted)
            best = torch.maximum(best, values.detach())
            optimizer.zero_grad(set_to_none=True)
            (-100 * values).sum().backward()
            optimizer.step()
            with torch.no_grad():
                images.clamp_(0, 1)
        found += best.view(len(classes), settings.starts).amax(dim=1).tolist()
        if report:
            report(len(classes))
    return found


def fit_gamma(values: Sequence[float]) -> tuple[float, float]:
    """Fit a Gamma distribution by maximum likelihood.

    Newton's method on log k - digamma(k) = log(mean) - mean(log), from Minka's approximation.

    Args:
        values: at least 2, positive and not all equal.

    Returns:
        Shape k and scale theta.
    """
    data = torch.tensor(values, dtype=torch.float64)
    gap = float(data.mean().log() - data.log().mean())
    shape = torch.tensor((3 - gap + math.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap), dtype=torch.float64)
    for _ in range(20):
        value = shape.log() - torch.digamma(shape) - gap
        slope = 1 / shape - torch.polygamma(1, shape)
        shape = (shape - value / slope).clamp(min=1e-3)
    return float(shape), float(data.mean() / shape)


def margin_test(values: Sequence[float]) -> float:
    """Return the p-value of the largest of several margins: 1 - F(largest)^n under a Gamma fit to the others.

    Args:
        values: one for each of n classes, n at least 3.

    Returns:
        0 to 1; 1 where the others are all equal to the largest.
    """
    ordered = sorted(max(value, SMALLEST) for value in values)
    others, largest = ordered[:-1], ordered[-1]
    if others[-1] - others[0] <= 1e-9 * others[-1]:
        return 1.0 if largest <= others[-1] else 0.0
    shape, scale = fit_gamma(others)
    below = torch.special.gammainc(
        torch.tensor(shape, dtype=torch.float64), torch.tensor(largest / scale, dtype=torch.float64)
    )
    return float(1 - below ** len(values))
