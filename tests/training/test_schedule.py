"""Learning rates by hand."""

from __future__ import annotations

import math

import pytest

from clipdefend.choices import LrSchedule
from clipdefend.training.schedule import fit_warmup, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.5), (1, 1.0), (2, 1.5), (3, 2.0), (4, 2.0), (6, 1.5), (7, 1.0), (8, 0.5), (10, 0.0)],
)
def test_warm_up_reaches_the_peak_and_cosine_falls_to_zero(step: int, expected: float) -> None:
    assert learning_rate(step, peak=2.0, total=10, warmup=4) == pytest.approx(expected, abs=1e-12)


def test_no_warm_up_begins_at_the_peak() -> None:
    assert learning_rate(0, peak=3.0, total=10, warmup=0) == 3.0


def test_a_warm_up_longer_than_the_run_never_reaches_the_peak() -> None:
    rates = [learning_rate(step, peak=1.0, total=10, warmup=40) for step in range(10)]
    assert rates == pytest.approx([(step + 1) / 40 for step in range(10)])


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    rates = [learning_rate(step, peak=1.0, total=6, warmup=2, kind="const") for step in range(6)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1])


def compat(step: int, *, epochs: int, warmup: int, per_epoch: int = 7812) -> float:
    return learning_rate(
        step,
        peak=1.0,
        total=epochs * per_epoch,
        warmup=warmup,
        kind="cleanclip-compat",
        steps_per_epoch=per_epoch,
    )


def test_cleanclips_curve_is_one_epoch_ahead() -> None:
    """500,000 pairs in batches of 64: 7,812 steps an epoch, and the first epoch counted as 1."""
    assert compat(0, epochs=10, warmup=10_000) == pytest.approx(0.7812)  # a warm-up of 10,000 begins at 78 %
    first = 0.5 * (1 + math.cos(math.pi * (7812 - 50) / (78_120 - 50)))
    assert compat(0, epochs=10, warmup=50) == pytest.approx(first)  # one of 50 never happens
    assert compat(7812 * 9, epochs=10, warmup=50) == pytest.approx(0.0, abs=1e-9)
    assert compat(7812 * 10 - 1, epochs=10, warmup=50) == pytest.approx(0.0245, abs=5e-5)  # it rises again
    assert compat(7812 * 5 - 1, epochs=5, warmup=50) == pytest.approx(0.0957, abs=5e-5)


def test_cleanclips_curve_without_an_epoch_ahead() -> None:
    """A warm-up of 4 steps to a peak of 2, counted from 0 to 4; then half of a cosine over the other 4."""
    rates = [
        learning_rate(step, peak=2.0, total=8, warmup=4, kind="cleanclip-compat") for step in (0, 2, 4, 6, 8)
    ]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0], abs=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "cleanclip-compat"])
def test_curves_at_the_end_of_short_runs(kind: LrSchedule) -> None:
    """The scheduler also asks for the rate of the step after the last."""
    assert learning_rate(0, peak=2.0, total=1, warmup=0, kind=kind) == 2.0
    assert learning_rate(1, peak=2.0, total=1, warmup=0, kind=kind) == pytest.approx(0.0, abs=1e-12)
    assert learning_rate(4, peak=2.0, total=4, warmup=4, kind=kind) == 2.0


def test_a_warm_up_that_would_fill_the_run_is_a_tenth_of_it() -> None:
    assert [fit_warmup(warmup, 47, "cosine") for warmup in (0, 5, 46, 47, 10_000)] == [0, 5, 46, 4, 4]
    assert fit_warmup(10_000, 50, "const") == 5
    assert fit_warmup(10_000, 3, "const") == 0
    assert fit_warmup(10_000, 47, "cleanclip-compat") == 10_000
