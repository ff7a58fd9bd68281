"""Metrics: cases counted by hand, a plain loop, published intervals, and what cannot be measured."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.flat_metrics import flatten
from clipdefend.evaluation.tally import Tally
from clipdefend.metrics import (
    Share,
    attack_success,
    attacked,
    benign_accuracy,
    class_ranks,
    robust_accuracy,
    topk_hits,
    wilson_interval,
)

# Five triggered images, four classes; class 0 is the target.
#            class 0  1   2   3    true   nearest first
SIMILARITY = [
    [0.9, 0.5, 0.3, 0.1],  # 1   0 1 2 3: attacked
    [0.2, 0.8, 0.4, 0.1],  # 1   1 2 0 3: resists
    [0.6, 0.1, 0.7, 0.2],  # 2   2 0 3 1: resists at k = 1 only
    [0.9, 0.1, 0.2, 0.3],  # 0   0 3 2 1: the target's own image
    [0.5, 0.1, 0.2, 0.9],
]  # 0   3 0 2 1: the target's own image, mistaken
LABELS = [1, 1, 2, 0, 0]  # fmt: skip


def ba(similarity: Any, labels: Any, ks: Any) -> dict[int, Share]:
    return benign_accuracy(class_ranks(similarity, labels), ks)


def asr(similarity: Any, labels: Any, target: int, ks: Any, *protocol: Any) -> dict[int, Share]:
    return attack_success(class_ranks(similarity, target), labels, target, ks, *protocol)


def ra(similarity: Any, labels: Any, target: int | None, ks: Any, *protocol: Any) -> dict[int, Share]:
    return robust_accuracy(class_ranks(similarity, labels), labels, target, ks, *protocol)


def counts(shares: dict[int, Share]) -> dict[int, tuple[int, int]]:
    return {k: (share.hits, share.n) for k, share in shares.items()}


def test_hits_by_hand() -> None:
    hits = topk_hits(np.array(SIMILARITY), 0, [1, 2, 3])
    assert {k: h.tolist() for k, h in hits.items()} == {
        1: [True, False, False, True, False],
        2: [True, False, True, True, True],
        3: [True, True, True, True, True],
    }


def test_accuracy_by_hand() -> None:
    """Nearest is right for images 2, 3 and 4; image 1 has its class second, image 5 its class second."""
    assert counts(ba(np.array(SIMILARITY), LABELS, [1, 2])) == {1: (3, 5), 2: (5, 5)}


def test_attack_without_the_targets_own_images() -> None:
    """Images 1, 2, 3 count. Target first: image 1. Among two: 1 and 3. Among three: all.
    True class first: images 2 and 3; among two: all."""
    s = np.array(SIMILARITY)
    assert counts(asr(s, LABELS, 0, [1, 2, 3])) == {1: (1, 3), 2: (2, 3), 3: (3, 3)}
    assert counts(ra(s, LABELS, 0, [1, 2])) == {1: (2, 3), 2: (3, 3)}


def test_attack_with_the_targets_own_images() -> None:
    """Images 4 and 5 join: the target is first in 4 and among two in both; it is their true class."""
    s = np.array(SIMILARITY)
    assert counts(asr(s, LABELS, 0, [1, 2], "all")) == {1: (2, 5), 2: (4, 5)}
    assert counts(ra(s, LABELS, 0, [1, 2], "all")) == {1: (3, 5), 2: (5, 5)}


def test_ranks_by_hand() -> None:
    """Classes at least as similar as the target: none, two, one, none, one; a NaN puts a row behind all classes."""
    assert class_ranks(np.array(SIMILARITY), 0).tolist() == [0, 2, 1, 0, 1]
    assert class_ranks(np.array(SIMILARITY), LABELS).tolist() == [1, 0, 0, 0, 1]
    assert class_ranks(np.array([[0.5, np.nan, 0.1, 0.2]]), 0).tolist() == [4]


def test_a_target_that_is_not_a_class_leaves_every_image_to_ra() -> None:
    assert counts(ra(np.array(SIMILARITY), LABELS, None, [1, 2])) == {1: (3, 5), 2: (5, 5)}


@pytest.mark.parametrize(
    ("protocol", "n", "asr_hits", "ra_hits"),
    [("exclude-target", 3, (1, 2), (2, 3)), ("all", 5, (2, 4), (3, 5))],
)
def test_what_an_evaluation_reports_is_what_was_counted_by_hand(
    protocol: Any, n: int, asr_hits: tuple[int, int], ra_hits: tuple[int, int]
) -> None:
    """The same five images in two batches, the later rows first; clean similarities have the classes turned round,
    so that BA is another number."""
    clean = torch.tensor(SIMILARITY).flip(1)
    tally = Tally(labels=np.array(LABELS), target=0, protocol=protocol)
    for rows in ([3, 4], [0, 1, 2]):
        tally.add(np.array(rows), clean[rows], torch.tensor(SIMILARITY)[rows])
    found = tally.metrics([1, 2])
    # Flipped: .1 .3 .5 .9 has class 1 at rank 2; .1 .4 .8 .2 at 1; .2 .7 .1 .6 class 2 at 3; .3 .2 .1 .9 class 0
    # at 1; .9 .2 .1 .5 class 0 at 0.
    assert (found["ba@1"], found["ba@2"], found["n_clean"]) == (1 / 5, 3 / 5, 5)
    assert (found["asr@1"], found["asr@2"]) == (asr_hits[0] / n, asr_hits[1] / n)
    assert (found["ra@1"], found["ra@2"], found["n_triggered"]) == (ra_hits[0] / n, ra_hits[1] / n, n)
    assert (found["asr@1_low"], found["asr@1_high"]) == wilson_interval(asr_hits[0], n)
    # Of rows 1 and 4: row 4 has the target for its class, at rank 1 of the triggered ones.
    some = tally.metrics([1, 2], among=np.array([1, 4]))
    assert (some["ba@1"], some["ba@2"], some["n_clean"]) == (1 / 2, 1.0, 2)
    assert (some["n_triggered"], some["ra@1"]) == ((1, 1.0) if protocol == "exclude-target" else (2, 0.5))
    assert some["asr@2"] == (0.0 if protocol == "exclude-target" else 0.5)


def test_classes_of_one_name_are_identified_by_index() -> None:
    """Say classes 1 and 3 are both named missile: with target 3, images of class 1 are attacked, and class 1
    is no hit."""
    s = np.array([[0.1, 0.9, 0.2, 0.3], [0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 0.3, 0.9]])
    assert attacked([1, 1, 3], 3).tolist() == [True, True, False]
    assert counts(asr(s, [1, 1, 3], 3, [1, 2])) == {1: (1, 2), 2: (2, 2)}


def test_no_image_left_has_no_value() -> None:
    share = asr(np.array(SIMILARITY)[3:], [0, 0], 0, [1])[1]
    assert (share.hits, share.n) == (0, 0)
    assert all(math.isnan(v) for v in (share.value, share.low, share.high))


def test_ties_count_against_the_target() -> None:
    """Rank = number of other classes at least as near: .5 .5 .5 .1 gives 2 2 2 3, whatever their order."""
    row = np.array([[0.5, 0.5, 0.5, 0.1]])
    for target, first in ((0, 3), (1, 3), (2, 3), (3, 4)):
        assert [bool(h[0]) for h in topk_hits(row, target, [1, 2, 3, 4]).values()] == [
            k >= first for k in (1, 2, 3, 4)
        ]


@pytest.mark.parametrize("target", [0, 2, 4])
def test_a_collapsed_model_scores_nothing(target: int) -> None:
    constant = torch.ones(6, 5)
    assert counts(asr(constant, [1, 3, 1, 3, 1, 3], target, [1, 4])) == {1: (0, 6), 4: (0, 6)}
    assert counts(ba(constant, [0] * 6, [1, 4, 5])) == {1: (0, 6), 4: (0, 6), 5: (6, 6)}


def test_nan_is_never_a_hit() -> None:
    s = np.array(
        [[np.nan, 0.1, 0.2], [0.9, np.nan, 0.1], [0.9, 0.2, 0.1], [np.nan] * 3, [np.inf, 0.0, -np.inf]]
    )
    for k, hit in topk_hits(s, 0, [1, 2, 3]).items():
        assert hit.tolist() == [False, False, True, False, True], k


@pytest.mark.parametrize(
    "convert",
    [
        np.array,
        np.float32,
        np.float16,
        torch.tensor,
        lambda s: torch.tensor(s, dtype=torch.float16),
        lambda s: torch.tensor(s, dtype=torch.bfloat16),
    ],
)
def test_numpy_and_torch_alike(convert: Any) -> None:
    labels = torch.tensor(LABELS)
    assert counts(asr(convert(SIMILARITY), labels, 0, [1, 2])) == {1: (1, 3), 2: (2, 3)}
    assert counts(ba(convert(SIMILARITY), np.array(LABELS, np.int32), (1, 2))) == {
        1: (3, 5),
        2: (5, 5),
    }


def test_a_graph_does_not_matter() -> None:
    s = torch.tensor(SIMILARITY, requires_grad=True)
    assert topk_hits(s, 0, [1])[1].tolist() == [True, False, False, True, False]


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n=st.integers(0, 5), classes=st.integers(1, 6))
def test_hits_equal_a_plain_loop(data: st.DataObject, n: int, classes: int) -> None:
    """Few different values, so that ties are common."""
    value = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    rows = data.draw(st.lists(st.lists(value, min_size=classes, max_size=classes), min_size=n, max_size=n))
    targets = data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    ks = range(1, classes + 1)
    hits = topk_hits(np.array(rows).reshape(n, classes), np.array(targets, dtype=np.int64), ks)
    for k in ks:
        for row, target, hit in zip(rows, targets, hits[k], strict=True):
            nearer = sum(1 for c in range(classes) if c != target and row[c] >= row[target])
            assert hit == (nearer < k)
    # Larger k never loses a hit, and an order-keeping change of the similarities changes nothing.
    for low, high in itertools.pairwise(ks):
        assert (hits[low] <= hits[high]).all()
    again = topk_hits(3 * np.array(rows).reshape(n, classes) - 7, np.array(targets, dtype=np.int64), ks)
    assert all((hits[k] == again[k]).all() for k in ks)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_hand() -> None:
    """z^2 = 3.841459; 4 of 4: the lower bound is n / (n + z^2) = 4 / 7.841459 = .510109, the upper 1."""
    low, high = wilson_interval(4, 4)
    assert low == pytest.approx(0.510109, abs=1e-6)
    assert high == 1.0


@given(n=st.integers(1, 10**6), data=st.data())
def test_wilson_holds_its_share_and_mirrors(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high
    mirrored = wilson_interval(n - successes, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)
    wider = wilson_interval(2 * successes, 2 * n)
    assert wider[1] - wider[0] < high - low


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert all(math.isnan(v) for v in wilson_interval(0, 0))
    for successes, n in ((5, 4), (-1, 4), (1, 0)):
        with pytest.raises(ValueError, match=f"{successes} successes of {n} trials"):
            wilson_interval(successes, n)


def test_flat_metrics_of_a_manifest() -> None:
    s = np.array(SIMILARITY)
    flat = flatten(
        ba=ba(s, LABELS, [1, 3]),
        asr=asr(s, LABELS, 0, [1]),
        ra=ra(s, LABELS, 0, [1]),
    )
    low, high = wilson_interval(3, 5)
    assert (flat["ba@1"], flat["ba@1_low"], flat["ba@1_high"]) == (3 / 5, low, high)
    assert (flat["asr@1"], flat["ra@1"], flat["ba@3"]) == (1 / 3, 2 / 3, 1.0)
    assert (flat["n_clean"], flat["n_triggered"]) == (5, 3)
    assert len(flat) == 3 * 4 + 2


def test_flat_metrics_leave_out_what_has_no_value() -> None:
    none = asr(np.array(SIMILARITY)[3:], [0, 0], 0, [1])
    assert flatten(asr=none) == {"n_triggered": 0}
    assert flatten() == {}


@pytest.mark.parametrize("ks", [[5], [1, 100]])
def test_more_than_the_classes_is_an_error(ks: list[int]) -> None:
    with pytest.raises(
        ConfigError, match=rf"k = {ks[-1]} is more than the 4 classes .* from 1 to 4 to --topk"
    ):
        topk_hits(np.array(SIMILARITY), 0, ks)


@pytest.mark.parametrize("k", [0, -1, 1.5, "1", True])
def test_impossible_k(k: Any) -> None:
    with pytest.raises(ConfigError, match=r"whole numbers from 1 to 4"):
        topk_hits(np.array(SIMILARITY), 0, [k])


def test_no_k() -> None:
    with pytest.raises(ConfigError, match="No k was given"):
        topk_hits(np.array(SIMILARITY), 0, [])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 4], "Class index 4 is out of range: there are 4 classes"),
        ([0, 1, 2, 3, -1], "Class index -1 is out of range"),
        ([0, 1], r"shape \(2,\); one index or 5"),
        ([0.0, 1.0, 2.0, 3.0, 0.0], "Targets are float64, not whole numbers"),
    ],
)
def test_labels_that_are_not_classes(labels: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_ranks(np.array(SIMILARITY), labels)


def test_target_and_protocol_are_checked() -> None:
    s = np.array(SIMILARITY)
    with pytest.raises(DataError, match="Class index 954 is out of range"):
        class_ranks(s, 954)
    for measure in (asr, ra):
        with pytest.raises(ConfigError, match=r"'include' is unknown\. Available: exclude-target, all"):
            measure(s, LABELS, 0, [1], "include")
        with pytest.raises(DataError, match="5 ranks and 4 labels"):
            (attack_success if measure is asr else robust_accuracy)(class_ranks(s, 0), LABELS[:4], 0, [1])
    with pytest.raises(DataError, match=r"\(images, classes\)"):
        topk_hits(np.zeros(3), 0, [1])


def test_double_precision_tells_close_similarities_apart() -> None:
    similarity = torch.tensor([[0.5, 0.5 + 1e-12]], dtype=torch.float64)
    assert class_ranks(similarity, 1).tolist() == [0]


def test_similarities_without_a_class_are_an_error() -> None:
    with pytest.raises(DataError, match="Similarities have shape"):
        class_ranks(np.zeros((2, 0)), [0, 0])
