"""How ``clean`` chooses: pure functions of what was measured on the canaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEAST_RA = 0.1
"""RA@1 of the suspect below which a canary hides the image, so that recovery under it says nothing."""


@dataclass(frozen=True, kw_only=True)
class CanaryFigures:
    """ASR@1 and RA@1 of a model under one canary, fractions; RA is None where it was not measured."""

    asr: float
    ra: float | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a candidate did to the planted copy.

    Attributes:
        name: of the candidate.
        accuracy: clean accuracy after it, BA@1 or R@1 of retrieval, a fraction.
        asr: mean ASR@1 of the canaries after it.
        recovery: mean recovery@1 under the canaries; None where no canary can tell.
    """

    name: str
    accuracy: float
    asr: float
    recovery: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen candidate, the reason in words, and whether it is within the bounds."""

    name: str
    reason: str
    within: bool


def mean_asr(figures: Sequence[CanaryFigures]) -> float:
    """Return the mean ASR@1 of at least one canary."""
    return math.fsum(each.asr for each in figures) / len(figures)


def mean_recovery(model: Sequence[CanaryFigures], suspect: Sequence[CanaryFigures]) -> float | None:
    """Return the mean of RA@1 of a model / RA@1 of the suspect without canaries, at most 1 for each canary.

    Args:
        model: figures of the model, one for each canary.
        suspect: figures of the suspect under the same triggers. Those that hide the image, with an RA@1 below
            ``LEAST_RA``, are left out.

    Returns:
        A fraction; None where nothing is left.
    """
    shares = [
        min(1.0, own.ra / before.ra)
        for own, before in zip(model, suspect, strict=True)
        if own.ra is not None and before.ra is not None and before.ra >= LEAST_RA
    ]
    return math.fsum(shares) / len(shares) if shares else None


def choose_outcome(
    outcomes: Sequence[Outcome], *, floor: float, asr_bound: float, recovery_bound: float
) -> Choice:
    """Choose: the largest accuracy of those whose canaries are gone; the first of equals.

    A candidate is within the bounds if its mean canary ASR@1 is at most ``floor + asr_bound`` and its mean recovery@1,
    where it is known, at least ``recovery_bound``. If none is, the largest recovery counts among those within the bound
    of ASR, and if there is none of these either, the smallest mean canary ASR@1.

    Args:
        outcomes: of at least one candidate.
        floor: mean ASR@1 of the suspect under the canaries' triggers, which it was never trained on.
        asr_bound, recovery_bound: fractions.
    """
    limit = floor + asr_bound
    gone = [each for each in outcomes if each.asr <= limit + 1e-9]
    within = [each for each in gone if each.recovery is None or each.recovery >= recovery_bound - 1e-9]
    rule = f"canary ASR@1 at most {100 * limit:.1f} % and canary recovery@1 at least {100 * recovery_bound:.0f} %"
    if within:
        best = max(within, key=lambda each: each.accuracy)
        return Choice(
            name=best.name,
            reason=f"the largest accuracy of {len(within)} candidates with {rule}",
            within=True,
        )
    if gone:
        most = max(gone, key=lambda each: each.recovery or 0.0)
        reason = f"no candidate has {rule}; the largest recovery among those within the bound of ASR@1"
        return Choice(name=most.name, reason=reason, within=False)
    least = min(outcomes, key=lambda each: each.asr)
    return Choice(name=least.name, reason=f"no candidate has {rule}; the smallest canary ASR@1", within=False)


def fit_budget(costs: Mapping[str, float | None], seconds: float) -> tuple[list[str], list[str]]:
    """Split candidates into those that fit into a budget, the cheapest first, and those that do not.

    Args:
        costs: name -> seconds, in the order of preference among equals; one of unknown cost counts as the costliest.
        seconds: for all candidates together; negative where everything else has used up the budget.

    Returns:
        Names that are kept and names that are dropped, each in the order of ``costs``. One is always kept.
    """
    known = [cost for cost in costs.values() if cost is not None]
    assumed = {name: max(known, default=0.0) if cost is None else cost for name, cost in costs.items()}
    kept: list[str] = []
    used = 0.0
    for name in sorted(assumed, key=lambda each: assumed[each]):
        if kept and used + assumed[name] > seconds:
            break
        kept.append(name)
        used += assumed[name]
    return [name for name in costs if name in kept], [name for name in costs if name not in kept]
