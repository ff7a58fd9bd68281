"""``clean``'s rule, budget, shares and candidates, worked out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import pytest

from clipdefend.commands.clean.candidates import Candidate, list_candidates
from clipdefend.commands.clean.clean_inputs import draw_targets
from clipdefend.commands.clean.cleaning_rounds import Cleaning
from clipdefend.commands.clean.cleaning_rule import (
    CanaryFigures,
    Choice,
    Outcome,
    choose_outcome,
    fit_budget,
    mean_asr,
    mean_recovery,
)
from clipdefend.commands.clean.final_round import milder_share
from clipdefend.commands.clean.pair_shares import divide_pairs
from clipdefend.config import CleanConfig
from clipdefend.errors import ConfigError, DataError


def outcome(name: str, accuracy: float, asr: float, recovery: float | None) -> Outcome:
    return Outcome(name=name, accuracy=accuracy, asr=asr, recovery=recovery)


def test_the_largest_accuracy_within_both_bounds() -> None:
    tried = [
        outcome("accurate, canaries left", 0.94, 0.30, 0.60),
        outcome("canaries go to other classes", 0.93, 0.01, 0.20),
        outcome("good", 0.90, 0.05, 0.80),  # at both bounds: 0.02 + 0.03, and 0.8
        outcome("as good", 0.90, 0.00, 1.00),
        outcome("worse", 0.85, 0.00, None),
    ]
    choice = choose_outcome(tried, floor=0.02, asr_bound=0.03, recovery_bound=0.8)
    assert (choice.name, choice.within) == ("good", True)
    assert choice.reason == (
        "the largest accuracy of 3 candidates with canary ASR@1 at most 5.0 % and canary recovery@1 at least 80 %"
    )


def test_without_one_the_smallest_asr_counts() -> None:
    tried = [outcome("a", 0.9, 0.5, 0.5), outcome("b", 0.5, 0.2, 0.9), outcome("c", 0.9, 0.04, 0.1)]
    choice = choose_outcome(tried, floor=0.0, asr_bound=0.03, recovery_bound=0.8)
    assert (choice.name, choice.within) == ("c", False)


def test_where_only_recovery_fails_the_largest_counts() -> None:
    tried = [outcome("a", 0.9, 0.5, 0.9), outcome("b", 0.9, 0.02, 0.5), outcome("c", 0.9, 0.0, 0.3)]
    choice = choose_outcome(tried, floor=0.0, asr_bound=0.03, recovery_bound=0.8)
    assert (choice.name, choice.within) == ("b", False)


def test_means_over_canaries() -> None:
    model = [CanaryFigures(asr=0.1, ra=0.45), CanaryFigures(asr=0.3, ra=0.9), CanaryFigures(asr=0.2, ra=0.04)]
    # The second recovers more than all, which counts as all; the third hides the image from the suspect too.
    suspect = [CanaryFigures(asr=0, ra=0.9), CanaryFigures(asr=0, ra=0.6), CanaryFigures(asr=0, ra=0.05)]
    assert mean_asr(model) == pytest.approx(0.2)
    assert mean_recovery(model, suspect) == pytest.approx((0.5 + 1) / 2)
    assert mean_recovery(model[2:], suspect[2:]) is None
    assert mean_recovery([CanaryFigures(asr=0, ra=None)], suspect[:1]) is None


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [(1000, ["a", "b", "c", "d"]), (130, ["b", "c"]), (29, ["b"]), (-5, ["b"]), (249, ["a", "b", "c"])],
)
def test_the_cheapest_fit_into_a_budget_and_one_always_stays(seconds: float, kept: list[str]) -> None:
    """In order of cost: b 30, c 90, a 120 and d, which counts as much as a."""
    costs = {"a": 120.0, "b": 30.0, "c": 90.0, "d": None}
    assert fit_budget(costs, seconds) == (kept, [name for name in costs if name not in kept])


def test_candidates_are_multiples_of_the_rate_unless_one_is_given() -> None:
    found = list_candidates(["ft", "unlearn:2e-5", "par", "ft:1.5e-3"], 5e-4)
    assert found == [
        Candidate("ft", 1.5e-3),
        Candidate("unlearn", 2e-5),
        Candidate("par", 5e-4),
        Candidate("par", 1.5e-3),
    ]
    assert Candidate("unlearn", 9e-6) in list_candidates(None, 4.5e-6)
    for wrong in ("ft:", "ft:fast", "ft:-1", "ft:inf"):
        with pytest.raises(ConfigError, match="no learning rate after the colon"):
            list_candidates([wrong], 1.0)


def test_shares_of_the_pairs_are_apart_and_of_their_sizes() -> None:
    config = CleanConfig(num_samples=800, check_pairs=100)
    shares = divide_pairs(config, 1000, labelled=False)
    assert {name: len(rows) for name, rows in shares.rows.items()} == {
        "plant": 160,
        "check": 100,
        "train": 540,
        "copy": 700,
    }
    assert len(np.unique(np.concatenate([shares.plant, shares.check, shares.train]))) == 800
    assert shares.copy.tolist() == sorted([*shares.plant, *shares.train])
    labelled = divide_pairs(config, 1000, labelled=True)
    assert len(labelled.check) == 0
    assert labelled.plant.tolist() == shares.plant.tolist()
    with pytest.raises(DataError, match=r"^20 pairs are too few: 4 for canaries, of which each poisons 0"):
        divide_pairs(dataclasses.replace(config, num_samples=20), 1000, labelled=True)


def test_targets_are_different_and_never_the_suspected_one() -> None:
    names = ["cat", "dog", "house", "dog"]
    for seed in range(5):
        assert sorted(draw_targets(names, 2, seed, without="cat")) == ["dog", "house"]
    assert draw_targets(names, 1, 0, usable=lambda name: name == "house") == ["house"]
    with pytest.raises(DataError, match="Only 2 of 4 class names can be targets"):
        draw_targets(names, 3, 0, without="cat")


def test_a_suspect_that_the_scan_calls_clean_loses_at_most_a_point() -> None:
    assert milder_share({0.1: 0.929, 0.25: 0.92, 0.5: 0.919, 0.75: 0.91}, 0.93) == 0.25
    assert milder_share({0.5: 0.95, 0.1: 0.93}, 0.93) == 0.5
    assert milder_share({0.5: 0.70, 0.1: 0.80}, 0.93) == 0.1


@pytest.mark.parametrize(("text", "seconds"), [("45m", 2700), ("1.5H", 5400), ("30s", 30), ("2d", 172_800)])
def test_budgets_are_times(text: str, seconds: float) -> None:
    assert CleanConfig(budget=text).seconds == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "0h", "2 hours", "nan h", "1e3s", "1.2.3h"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="it takes a time such as 45m"):
        CleanConfig(budget=text)


def test_figures_of_another_share_do_not_stand_in_for_those_of_the_kept_one() -> None:
    candidate = Candidate("ft", 1e-3)
    whole = Outcome(name=str(candidate), accuracy=0.9, asr=0.01, recovery=0.95)
    mixed = Outcome(name="share 0.1", accuracy=0.92, asr=0.6, recovery=0.2)
    unused = cast("Any", None)
    cleaning = Cleaning(unused, unused, unused, unused, unused, 0.0)
    cleaning.outcomes = {candidate: whole}
    cleaning.choice = Choice(name=str(candidate), reason="the best", within=True)
    kept = [cleaning.kept]
    cleaning.share = 0.1
    kept.append(cleaning.kept)
    cleaning.merges = {"share 1": whole, "share 0.1": mixed}
    kept.append(cleaning.kept)
    assert kept == [whole, None, mixed]
