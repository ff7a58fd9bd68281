"""Rules that choose an epoch from what a defender can see, against the best epoch that the trigger shows.

Epoch 0 is the victim. A rule reads clean accuracy (``ba@1``) and the figures of ``training.visible``; it never
reads ASR or RA. The best epoch is the one with the largest BA@1 - ASR@1, for which the trigger must be known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clipdefend.report.collect import Epoch

Rule = Callable[[Sequence[Epoch], float], Epoch | None]


@dataclass(frozen=True)
class StoppingRule:
    """A rule with its words for people."""

    name: str
    text: str
    choose: Rule


@dataclass(frozen=True)
class Choice:
    """What a rule chose in one run.

    Attributes:
        rule: its name.
        epoch: the chosen epoch.
        ba, asr: of that epoch at k = 1.
        regret: how much BA@1 - ASR@1 is below the best epoch's; 0 when the rule found it, negative when it kept a
            victim that every epoch made worse.
    """

    rule: str
    epoch: float
    ba: float
    asr: float
    regret: float


def last_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """The last epoch: no rule at all."""
    trained = _trained_epochs(epochs, "ba@1")
    return trained[-1] if trained else None


def lowest_loss_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """The epoch with the lowest validation loss; the earlier of equals."""
    trained = _trained_epochs(epochs, "val_loss")
    return min(trained, key=lambda epoch: epoch.values["val_loss"], default=None)


def latest_affordable_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """The latest epoch whose clean accuracy is at most ``budget`` below the victim's."""
    affordable = _affordable(epochs, budget, "ba@1")
    return affordable[-1] if affordable else None


def farthest_epoch(epochs: Sequence[Epoch], budget: float) -> Epoch | None:
    """Of the epochs within the budget, the one whose image features are farthest from the victim's."""
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
    """The trained epoch with the largest BA@1 - ASR@1; the earlier of equals."""
    known = [epoch for epoch in _trained_epochs(epochs, "ba@1") if "asr@1" in epoch.values]
    return max(known, key=score, default=None)


def score(epoch: Epoch) -> float:
    """BA@1 - ASR@1."""
    return epoch.values["ba@1"] - epoch.values["asr@1"]


def apply_rules(epochs: Sequence[Epoch], budget: float) -> list[Choice]:
    """What each rule that has what it needs would have chosen; a rule that stops at once keeps the victim.

    Args:
        epochs: of one run, ascending, the victim first.
        budget: largest loss of BA@1 that is allowed, as a fraction.
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
    return [epoch for epoch in epochs if epoch.number > 0 and key in epoch.values]


def _affordable(epochs: Sequence[Epoch], budget: float, key: str) -> list[Epoch]:
    """Epochs within the budget, the victim's own among them, which always is."""
    victim = next((epoch for epoch in epochs if epoch.number == 0 and "ba@1" in epoch.values), None)
    if victim is None:
        return []
    least = victim.values["ba@1"] - budget
    # Accuracies are counts of images: a difference in the last bit is none.
    return [
        epoch for epoch in epochs if key in epoch.values and epoch.values.get("ba@1", -1.0) >= least - 1e-9
    ]
