"""Stopping rules: they choose an epoch by what a defender can see, and are compared with the best epoch.

Epoch 0 is the victim. A rule reads clean accuracy (``ba@1``) and the figures of ``training.validation``, and never ASR
or RA. The best epoch is the one with the largest ``defence_value``; only someone who knows the trigger can find it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clipdefend.evaluation.flat_metrics import defence_value
from clipdefend.report.collect import Epoch

Rule = Callable[[Sequence[Epoch], float], Epoch | None]
"""Epochs of a run and the budget (largest loss of BA@1, a fraction) -> the chosen epoch; None without its figures."""


@dataclass(frozen=True)
class StoppingRule:
    """A stopping rule.

    Attributes:
        name: short, for columns.
        text: completes "chooses ...".
        choose: the rule itself.
    """

    name: str
    text: str
    choose: Rule


@dataclass(frozen=True)
class Choice:
    """What a rule chose in one run.

    Attributes:
        rule: its name.
        epoch: number of the chosen epoch.
        ba, asr: of that epoch at k = 1, fractions.
        regret: ``defence_value`` of the best epoch minus that of the chosen one: 0 for the best epoch itself, negative
            for a victim that every epoch made worse.
    """

    rule: str
    epoch: float
    ba: float
    asr: float
    regret: float


def last_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """Choose the last epoch: the baseline, which looks at nothing."""
    trained = _trained_epochs(epochs, "ba@1")
    return trained[-1] if trained else None


def lowest_loss_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """Choose the epoch with the lowest validation loss, the earliest of equals."""
    trained = _trained_epochs(epochs, "val_loss")
    return min(trained, key=lambda epoch: epoch.values["val_loss"], default=None)


def latest_affordable_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """Choose the latest epoch whose clean accuracy is at most ``budget`` below the victim's."""
    affordable = _affordable(epochs, budget, "ba@1")
    return affordable[-1] if affordable else None


def farthest_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """Choose, among the epochs within the budget, the one whose image features are farthest from the victim's."""
    affordable = _affordable(epochs, budget, "drift_image")
    return max(affordable, key=lambda epoch: epoch.values["drift_image"], default=None)


RULES = (
    StoppingRule("last", "the last epoch", last_epoch),
    StoppingRule("loss", "the lowest loss on clean validation pairs", lowest_loss_epoch),
    StoppingRule(
        "budget", "the latest epoch whose clean accuracy is within the budget", latest_affordable_epoch
    ),
    StoppingRule(
        "drift", "within the budget, the epoch farthest from the victim's image features", farthest_epoch
    ),
)


def best_epoch(epochs: Sequence[Epoch]) -> Epoch | None:
    """Return the epoch after the victim's with the largest ``defence_value``, the earliest of equals."""
    known = [epoch for epoch in _trained_epochs(epochs, "ba@1") if "asr@1" in epoch.values]
    return max(known, key=score, default=None)


def score(epoch: Epoch) -> float:
    """Return what the epoch's model is worth, see ``defence_value``."""
    return defence_value(epoch.values)


def apply_rules(epochs: Sequence[Epoch], budget: float) -> list[Choice]:
    """Apply every rule to a run.

    Args:
        epochs: of the run, ascending; epoch 0 is the victim, which a rule that stops at once keeps.
        budget: largest loss of BA@1 that is allowed, as a fraction.

    Returns:
        A choice for each rule whose figures the run recorded.
    """
    top = best_epoch(epochs)
    found = []
    for rule in RULES:
        chosen = rule.choose(epochs, budget)
        if top is not None and chosen is not None and {"ba@1", "asr@1"} <= chosen.values.keys():
            values = chosen.values
            regret = score(top) - score(chosen)
            found.append(Choice(rule.name, chosen.number, values["ba@1"], values["asr@1"], regret))
    return found


def _trained_epochs(epochs: Sequence[Epoch], key: str) -> list[Epoch]:
    """Return the epochs after the victim's that recorded a figure."""
    return [epoch for epoch in epochs if epoch.number > 0 and key in epoch.values]


def _affordable(epochs: Sequence[Epoch], budget: float, key: str) -> list[Epoch]:
    """Return the epochs within the budget that recorded a figure; the victim's own is always within it."""
    victim = next((epoch for epoch in epochs if epoch.number == 0 and "ba@1" in epoch.values), None)
    if victim is None:
        return []
    least = victim.values["ba@1"] - budget
    # Accuracies are numbers of images divided by their total: equal ones may differ in the last bit.
    return [
        epoch for epoch in epochs if key in epoch.values and epoch.values.get("ba@1", -1.0) >= least - 1e-9
    ]
