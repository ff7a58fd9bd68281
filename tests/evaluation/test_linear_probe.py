"""Linear probes: scikit-learn by hand, the papers' layer step by step, few classes, cached features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from clipdefend.draws import draw_seed, permutation
from clipdefend.errors import DataError
from clipdefend.evaluation.linear_probe import COARSE, Samples, fit_logistic, layer_probe, logistic_probe

LAYER: dict[str, Any] = {"lr": 0.05, "epochs": 3, "batch_size": 16, "weight_decay": 0.1, "seed": 3}


def samples(count: int, classes: int = 3, seed: int = 0, spread: float = 1.5) -> Samples:
    """Gaussian clouds in five dimensions around the first unit vectors."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    features = spread * rng.normal(size=(count, 5)) + 2 * np.eye(5)[labels]
    return Samples(features=torch.from_numpy(features).float(), labels=labels)


def accuracy(model: LogisticRegression, part: Samples) -> float:
    return float(model.score(part.features.double().numpy(), part.labels))


def test_the_probe_is_scikit_learns_at_the_strength_that_is_best_on_validation() -> None:
    train, validation, test = samples(60), samples(80, seed=1), samples(50, seed=2)
    probe = logistic_probe(train, validation, 3)

    def by_hand(part: Samples, power: float) -> LogisticRegression:
        model = LogisticRegression(C=10.0**power, max_iter=1000)
        return model.fit(part.features.double().numpy(), part.labels)

    coarse = {power: accuracy(by_hand(train, power), validation) for power in COARSE}
    chosen, step = max(COARSE, key=lambda power: (coarse[power], -power)), 1.0
    for step in (1.0, 0.5, 0.25, 0.125):
        near = [p for p in (chosen - step, chosen, chosen + step) if -6 <= p <= 6]
        chosen = max(near, key=lambda power: (accuracy(by_hand(train, power), validation), -power))
    assert probe.facts["C"] == pytest.approx(10.0**chosen)
    assert probe.facts["validation_accuracy"] == accuracy(by_hand(train, chosen), validation)
    final = by_hand(train + validation, chosen)
    scores = probe.scores(test.features)
    np.testing.assert_allclose(scores, final.decision_function(test.features.double().numpy()), atol=1e-8)
    assert probe.facts["converged"] is True


def test_two_classes_have_two_scores() -> None:
    train, test = samples(40, classes=2), samples(30, classes=2, seed=1)
    scores = fit_logistic(train, 1.0, 2)[0](test.features)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(train.features.double().numpy(), train.labels)
    assert scores.shape == (30, 2)
    assert scores.argmax(dim=1).tolist() == model.predict(test.features.double().numpy()).tolist()


def test_a_class_without_training_images_is_never_predicted() -> None:
    train = samples(40, classes=2)
    scores = fit_logistic(train, 1.0, 4)[0](train.features)
    assert scores.shape == (40, 4)
    assert set(scores.argmax(dim=1).tolist()) <= {0, 1}
    assert bool(torch.isinf(scores[:, 2:]).all())


def test_one_class_cannot_be_probed() -> None:
    with pytest.raises(DataError, match="two classes"):
        logistic_probe(samples(5, classes=1), samples(5, classes=1), 3)


def test_features_that_are_not_finite_cannot_be_probed() -> None:
    broken = samples(20)
    broken.features[3, 1] = float("nan")
    with pytest.raises(DataError, match="NaN or infinity"):
        logistic_probe(broken, samples(10), 3)


def test_the_papers_layer_step_by_step() -> None:
    """AdamW written out: decay of the weight only, bias correction, cosine without warm-up."""
    train = samples(40)
    probe = layer_probe(train, 3, **LAYER)
    with torch.random.fork_rng():
        torch.manual_seed(draw_seed(3, "probe"))
        layer = torch.nn.Linear(5, 3)
    values = [layer.weight.detach().double(), layer.bias.detach().double()]
    first, second = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values]
    x, y = train.features.double(), torch.from_numpy(train.labels)
    step, total = 0, 9  # three batches (16, 16, 8) in each of three epochs
    for epoch in range(3):
        order = permutation(40, 3, "probe", epoch)
        for start in (0, 16, 32):
            rows = order[start : start + 16]
            rate = 0.05 * (1 + np.cos(np.pi * step / total)) / 2
            step += 1
            error = torch.softmax(x[rows] @ values[0].T + values[1], dim=1) - torch.eye(3).double()[y[rows]]
            for i, slope in enumerate((error.T @ x[rows] / len(rows), error.mean(dim=0))):
                values[i] = values[i] * (1 - rate * (0.1 if i == 0 else 0.0))
                first[i] = 0.9 * first[i] + 0.1 * slope
                second[i] = 0.999 * second[i] + 0.001 * slope**2
                root = (second[i] / (1 - 0.999**step)).sqrt() + 1e-8
                values[i] = values[i] - rate * first[i] / (1 - 0.9**step) / root
    expected = x @ values[0].T + values[1]
    torch.testing.assert_close(probe.scores(train.features).double(), expected, atol=1e-4, rtol=0)


def test_the_layer_is_a_function_of_its_seed() -> None:
    train = samples(40)
    scores = [layer_probe(train, 3, **{**LAYER, "seed": seed}).scores(train.features) for seed in (3, 3, 4)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
