"""Rules that choose an epoch, on a history whose choices are worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.report.collect import Epoch
from clipdefend.report.illustrations import Histories
from clipdefend.report.stopping import RULES, apply_rules, best_epoch
from clipdefend.report.stopping_summary import summarize_stopping
from report_runs import Lab, shares

# epoch: BA, ASR, validation loss, drift of the image features
HISTORY = {
    0: (0.90, 0.95, 0.50, 0.00),
    1: (0.89, 0.60, 0.40, 0.20),
    2: (0.88, 0.30, 0.30, 0.35),
    3: (0.885, 0.35, 0.35, 0.30),
    4: (0.80, 0.10, 0.60, 0.50),
    5: (0.82, 0.20, 0.55, 0.45),
}
NAMES = ("ba@1", "asr@1", "val_loss", "drift_image")


def history(*keep: str) -> list[Epoch]:
    names = keep or NAMES
    return [
        Epoch(number, {name: value for name, value in zip(NAMES, values, strict=True) if name in names})
        for number, values in HISTORY.items()
    ]


def chosen(epochs: list[Epoch], budget: float = 0.02) -> dict[str, float]:
    return {choice.rule: choice.epoch for choice in apply_rules(epochs, budget)}


def test_what_each_rule_chooses() -> None:
    # Within 2 points of 90 are the epochs 0 to 3; of those 3 is the last and 2 the farthest.
    assert chosen(history()) == {"last": 5, "loss": 2, "budget": 3, "drift": 2}
    # Within half a point only the victim is: nothing is trained.
    assert chosen(history(), 0.005) == {"last": 5, "loss": 2, "budget": 0, "drift": 0}
    assert chosen(history(), 0.5) == {"last": 5, "loss": 2, "budget": 5, "drift": 4}


def test_regret_against_the_best_epoch() -> None:
    # BA - ASR: -0.05, 0.29, 0.58, 0.535, 0.70, 0.62.
    epochs = history()
    top = best_epoch(epochs)
    assert top is not None
    assert top.number == 4
    regrets = {choice.rule: choice.regret for choice in apply_rules(epochs, 0.02)}
    assert regrets == {
        "last": pytest.approx(0.08),
        "loss": pytest.approx(0.12),
        "budget": pytest.approx(0.165),
        "drift": pytest.approx(0.12),
    }


def test_rules_never_read_what_only_the_trigger_shows() -> None:
    blind = history("ba@1", "val_loss", "drift_image")
    for rule in RULES:
        seen, unseen = rule.choose(history(), 0.02), rule.choose(blind, 0.02)
        assert seen is not None
        assert unseen is not None
        assert seen.number == unseen.number


@pytest.mark.parametrize(
    ("keep", "rules"), [(("ba@1", "asr@1"), {"last", "budget"}), (("val_loss",), set()), (("asr@1",), set())]
)
def test_rules_without_what_they_need_are_left_out(keep: Any, rules: set[str]) -> None:
    assert set(chosen(history(*keep))) == rules


def test_epochs_without_a_figure_are_passed_over() -> None:
    """Without BA an epoch is not within any budget, and without ASR it is not the best one."""
    epochs = history()
    gaps = [*epochs, Epoch(6, {"drift_image": 9.0}), Epoch(7, {"ba@1": 0.99, "val_loss": 0.1})]
    assert [rule.choose(gaps, 0.95).number for rule in RULES if rule.name == "drift"] == [4]  # type: ignore[union-attr]
    top = best_epoch(gaps)
    assert top is not None
    assert top.number == 4
    assert "loss" not in chosen(gaps)  # it chose epoch 7, whose regret is unknown


def test_a_budget_is_counted_from_the_victim_and_met_exactly() -> None:
    figures = {1: 0.5, 0: 0.9, 2: 0.88, 3: 0.8799}
    epochs = [Epoch(number, {"ba@1": ba, "asr@1": 0.0}) for number, ba in figures.items()]
    assert chosen(epochs, 0.02)["budget"] == 2


def test_equal_losses_and_nothing_at_all() -> None:
    flat = [Epoch(number, {"ba@1": 0.5, "asr@1": 0.5, "val_loss": 1.0}) for number in range(3)]
    assert chosen(flat)["loss"] == 1
    assert apply_rules([], 0.02) == []
    assert apply_rules(flat[:1], 0.02) == []


def test_the_best_rule_has_the_least_regret_as_a_number(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    run = lab.defend(lab.victim(lab.poison(), {}), "ft", shares(ba1=0.7, asr1=0.0))
    # BA - ASR: 0.1, 0.8, 0.7, 0.71: the last gives away 9 points, the lowest loss 10.
    figures = ((0.9, 0.8, 2.0), (0.8, 0.0, 1.5), (0.7, 0.0, 1.0), (0.71, 0.0, 1.6))
    epochs = [
        Epoch(number, {"ba@1": ba, "asr@1": asr, "val_loss": loss, "n_clean": 50})
        for number, (ba, asr, loss) in enumerate(figures)
    ]
    found = summarize_stopping(Histories(runs=[("badnet", "ft", run, epochs)]), 0.5)
    assert found is not None
    rules = {rule["name"]: (rule["mean"], rule["best"]) for rule in found["rules"]}
    assert rules == {"last": ("9.0", True), "loss": ("10.0", False), "budget": ("9.0", True)}
    assert "the fixed subset of the table's images" in found["note"]
