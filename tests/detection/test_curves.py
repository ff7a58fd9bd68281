"""AUROC, average precision and ROC curves, streamed: by hand, and equal to scikit-learn's; the largest of a stream."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from clipdefend.detection.curves import Curve
from clipdefend.detection.top_share import Flagging, kth_largest


def curve(positives: list[float], negatives: list[float], parts: int = 1) -> Curve:
    found = Curve.of(np.array(positives))
    for part in np.array_split(np.array(negatives), parts):
        found.add_negatives(part)
    return found


def test_figures_by_hand() -> None:
    """Positives 4, 2; negatives 3, 2, 1: 4 beats three, 2 beats one and ties one: (3 + 1.5) / 6 = 0.75.

    Precision is 1 at 4, and 2 of 4 at 2: the average is 0.75, too.
    """
    found = curve([4, 2], [3, 2, 1])
    assert found.auroc(0).value == pytest.approx(0.75)
    assert found.average_precision(0).value == pytest.approx(0.75)
    false, true = found.roc()
    assert true.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert false.tolist() == pytest.approx([0, 0, 0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("ties", [False, True])
def test_figures_equal_scikit_learns(ties: bool) -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(0.7, 1, 60), rng.normal(0, 1, 500)
    if ties:
        positives, negatives = positives.round(), negatives.round()
    labels = [1] * 60 + [0] * 500
    scores = np.r_[positives, negatives]
    found = curve(positives.tolist(), negatives.tolist(), parts=7)
    assert found.auroc(0).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.average_precision(0).value == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    false, true = found.roc()
    assert auc(false, true) == pytest.approx(found.auroc(0).value, abs=1e-12)


def test_intervals_are_those_of_a_bootstrap_of_the_scores_themselves() -> None:
    rng = np.random.default_rng(1)
    positives, negatives = rng.normal(1, 1, 40), rng.normal(0, 1, 300)
    found = curve(positives.tolist(), negatives.tolist()).auroc(3, draws=2000)
    plain = [
        float(np.mean(rng.choice(positives, 40)[:, None] > rng.choice(negatives, 300)[None]))
        for _ in range(2000)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, (0.025, 0.975))), abs=0.012)
    again = curve(positives.tolist(), negatives.tolist(), parts=5).auroc(3, draws=2000)
    assert again == found
    assert curve(positives.tolist(), negatives.tolist()).auroc(4, draws=2000).low != found.low


def test_without_negatives_there_is_no_figure() -> None:
    assert np.isnan(Curve.of(np.array([1.0])).auroc(0).value)


def test_the_kth_largest_of_a_stream() -> None:
    rng = np.random.default_rng(2)
    scores = np.r_[rng.normal(0, 1e3, 300), rng.normal(0, 1e-300, 50), [0.0, -0.0, np.inf, -np.inf, 7.0, 7.0]]
    ordered = np.sort(scores)[::-1]
    for k in (1, 2, 5, 150, 200, len(scores)):
        assert kth_largest(lambda: np.array_split(scores, 9), k) == ordered[k - 1]


def test_flags_are_as_many_as_asked_for_and_ties_go_to_the_first() -> None:
    scores = np.array([1.0, 3.0, 2.0, 2.0, 5.0, 2.0])
    for count, expected in ((0, []), (2, [1, 4]), (3, [1, 2, 4]), (4, [1, 2, 3, 4]), (6, [*range(6)])):
        flags = Flagging(lambda: [scores[:3], scores[3:]], count)
        found = np.r_[flags(scores[:3]), flags(scores[3:])]
        assert np.flatnonzero(found).tolist() == expected
