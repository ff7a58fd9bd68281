"""Linear probes: classifiers on features of the frozen image tower, trained by two protocols."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from clipdefend.draws import draw_seed, permutation
from clipdefend.errors import DataError
from clipdefend.metrics import class_ranks

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Classifier = Callable[[Tensor], Tensor]
"""Features (n, d) -> scores (n, classes)."""

MAX_ITERATIONS = 1000
COARSE = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
"""Exponents (base 10) of the values of C with which the sweep starts."""
FINEST = 0.125
"""Resolution of the sweep, in decades."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Features and labels.

    Attributes:
        features: float32, shape (n, d), not normalised.
        labels: int64, shape (n,).
    """

    features: Tensor
    labels: Rows

    def __add__(self, other: Samples) -> Samples:
        return Samples(
            features=torch.cat([self.features, other.features]),
            labels=np.concatenate([self.labels, other.labels]),
        )


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A trained classifier.

    Attributes:
        scores: features (n, d) -> scores (n, classes).
        facts: what the manifest records about its training.
    """

    scores: Classifier
    facts: dict[str, Any]


def logistic_probe(train: Samples, validation: Samples, classes: int) -> Probe:
    """Train scikit-learn's logistic regression, choosing its L2 strength on the validation images.

    The sweep starts with C = 1e-6, 1e-4, ... 1e6 and then halves the step around the best value down to an eighth of
    a decade; ties go to the stronger regularisation. The final classifier is fitted to the training and validation
    images together.

    Args:
        train, validation: samples of disjoint images.
        classes: number of classes; a class without training images is never predicted.

    Raises:
        DataError: all training images are of one class.

    Reference: Radford et al. 2021 (CLIP), appendix A.3: L-BFGS, at most 1,000 iterations, the same sweep.
    """
    tried: dict[float, float] = {}

    def accuracy(power: float) -> float:
        if power not in tried:
            scores = fit_logistic(train, 10.0**power, classes)[0](validation.features)
            tried[power] = float((class_ranks(scores, validation.labels) == 0).mean())
        return tried[power]

    def best(powers: tuple[float, ...]) -> float:
        return max(sorted(powers), key=accuracy)  # the first of equals

    chosen, step = best(COARSE), 1.0
    while step >= FINEST:
        near = (chosen - step, chosen, chosen + step)
        chosen = best(tuple(power for power in near if COARSE[0] <= power <= COARSE[-1]))
        step /= 2
    scores, converged = fit_logistic(train + validation, 10.0**chosen, classes)
    facts = {
        "protocol": "logistic",
        "C": 10.0**chosen,
        "validation_accuracy": tried[chosen],
        "tried": {f"{10.0**power:.4g}": tried[power] for power in sorted(tried)},
        "converged": converged,
    }
    return Probe(scores=scores, facts=facts)


def fit_logistic(samples: Samples, strength: float, classes: int) -> tuple[Classifier, bool]:
    """Fit scikit-learn's ``LogisticRegression(C=strength, max_iter=1000)`` in double precision.

    Returns:
        The classifier, and whether the fit converged.

    Raises:
        DataError: all samples are of one class, or features are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(samples.labels)
    if len(present) < 2:
        raise DataError("A probe needs training images of two classes at least.")
    if not bool(samples.features.isfinite().all()):
        raise DataError(
            "The model's image features hold NaN or infinity, so that no probe can be fitted to them."
        )
    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(samples.features.numpy().astype(np.float64), samples.labels)
    converged = not any(issubclass(item.category, ConvergenceWarning) for item in caught)

    def scores(features: Tensor) -> Tensor:
        found: Floats = model.decision_function(features.numpy().astype(np.float64))
        values = np.full((len(found), classes), -np.inf)
        values[:, present] = np.stack([-found, found], axis=1) if found.ndim == 1 else found
        return torch.from_numpy(values)

    return scores, converged


def layer_probe(
    train: Samples, classes: int, *, lr: float, epochs: int, batch_size: int, weight_decay: float, seed: int
) -> Probe:
    """Train a single linear layer by the papers' protocol: AdamW, cosine schedule without warm-up, no validation.

    Args:
        train: samples of all images that are not in the test split.
        classes: number of classes.
        lr, epochs, batch_size, weight_decay: training options; the bias does not decay.
        seed: seed of the initial weights and of the order of each epoch.

    Reference: CleanCLIP, src/evaluate.py of its code: lr 0.005, 10 epochs, batches of 128, weight decay 0.01.

    Deviates: weights and order depend on the seed only.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw_seed(seed, "probe"))
        layer = nn.Linear(train.features.shape[1], classes)
    optimizer = torch.optim.AdamW(
        [
            {"params": [layer.weight], "weight_decay": weight_decay},
            {"params": [layer.bias], "weight_decay": 0.0},
        ],
        lr=lr,
    )
    labels = torch.from_numpy(train.labels)
    steps = epochs * -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for epoch in range(epochs):
        order = torch.from_numpy(permutation(len(labels), seed, "probe", epoch))
        for chosen in order.split(batch_size):
            loss = F.cross_entropy(layer(train.features[chosen]), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    layer.requires_grad_(False)
    facts = {"lr": lr, "epochs": epochs, "batch_size": batch_size, "weight_decay": weight_decay}
    return Probe(scores=layer, facts={"protocol": "cleanclip", **facts})
