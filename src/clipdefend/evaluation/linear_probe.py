"""Linear probes: a classifier on the frozen image tower's features, by two protocols."""

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
"""Powers of ten of the first inverse strengths that the sweep tries."""
FINEST = 0.125
"""Where the sweep stops, in decades."""


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
        facts: what the manifest keeps of its training.
    """

    scores: Classifier
    facts: dict[str, Any]


def logistic_probe(train: Samples, validation: Samples, classes: int) -> Probe:
    """scikit-learn's logistic regression; its L2 strength is chosen on the validation images.

    The sweep begins with C = 1e-6, 1e-4, ... 1e6 and then halves the distance around the best until an eighth
    of a decade; of equal accuracies the stronger regularisation wins. The classifier is then fitted to
    training and validation images together.

    Args:
        train, validation: of disjoint images.
        classes: their number; one without a training image is never predicted.

    Raises:
        DataError: training images of a single class.

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
        The classifier, and whether the fit has converged.

    Raises:
        DataError: samples of a single class, or features that are no numbers.
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
    """A single linear layer by the papers' protocol: AdamW, cosine without warm-up, no validation.

    Args:
        train: all images that are not the test's.
        classes: their number.
        lr, epochs, batch_size, weight_decay: of the training; the bias does not decay.
        seed: of the first weights and of the order of each epoch.

    Reference: CleanCLIP, src/evaluate.py of its code: lr 0.005, 10 epochs, batches of 128, weight decay 0.01.

    Deviates: weights and order are drawn from the seed alone.
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
