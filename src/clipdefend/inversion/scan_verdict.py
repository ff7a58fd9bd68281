"""The verdict of a scan: how much stronger the evidence is in the suspect than in a reference model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Evidence:
    """A family's smallest trigger: its size, its ASR on held-out images, and whether it reached the goal."""

    size: float
    asr: float
    reached: bool = True


Word = Literal["backdoored", "clean", "cannot tell"]

BACKDOORED: Word = "backdoored"
CLEAN: Word = "clean"
UNKNOWN: Word = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of the verdict; ``ThresholdsConfig`` holds those of the built-in world.

    Attributes:
        backdoored: lowest score of a backdoored model.
        clean: highest score of a clean model.
        library: smallest excess of a library trigger's concentration over the reference's in a backdoored model.
        margin: p-value of the maximum margin below which a model without a reference is backdoored.
    """

    backdoored: float
    clean: float
    library: float
    margin: float


@dataclass(frozen=True, kw_only=True)
class ScanVerdict:
    """A verdict and its reason.

    Attributes:
        word: backdoored, clean or cannot tell.
        score: see `score_of`; None without a reference.
        reason: one sentence for people.
        rule: the rule with its thresholds.
    """

    word: Word
    score: float | None
    reason: str
    rule: str


SMALLEST = 1e-9
"""Smaller sizes count as this."""
OFFSET = 0.5
"""Added to shares before they are divided by each other, so that small ones do not decide."""


def family_ratio(suspect: Evidence, reference: Evidence) -> float:
    """Return how much stronger the evidence of a family's trigger is in the suspect than in the reference.

    It is (reference size / suspect size) * (suspect ASR + 1/2) / (reference ASR + 1/2): with a backdoor a small trigger
    suffices, and it sends the images to one class; triggers of a clean model collapse the embeddings anywhere. The size
    of a search that did not reach its goal is a lower bound of what it takes: then the sizes count only in favour of
    the model whose search failed.
    """
    size = max(reference.size, SMALLEST) / max(suspect.size, SMALLEST)
    if not suspect.reached:
        size = min(size, 1.0)
    if not reference.reached:
        size = max(size, 1.0)
    return size * (suspect.asr + OFFSET) / (reference.asr + OFFSET)


def score_of(suspect: Mapping[str, Evidence], reference: Mapping[str, Evidence]) -> float | None:
    """Return the geometric mean of `family_ratio` over the families in which either model's search reached the goal.

    Args:
        suspect: family -> figures of its trigger.
        reference: the same for the reference model.

    Returns:
        About 1 for a clean model; None where no search reached the goal.
    """
    counted = [
        family
        for family, evidence in suspect.items()
        if family in reference and (evidence.reached or reference[family].reached)
    ]
    logs = [math.log(family_ratio(suspect[family], reference[family])) for family in counted]
    return math.exp(sum(logs) / len(logs)) if logs else None


def decide(
    score: float | None,
    *,
    library: tuple[str, float] | None = None,
    margin: float | None = None,
    thresholds: Thresholds,
) -> ScanVerdict:
    """Reach the verdict.

    Args:
        score: see `score_of`; None without a reference model, or where nothing was found in either.
        library: name of the library trigger with the largest excess of concentration over the reference's, and the
            excess; None where it was not tried.
        margin: p-value of `margin_test`; None where it was not tried.
        thresholds: the bounds.
    """
    t = thresholds
    rule = (
        f"backdoored if the score is at least {t.backdoored:g}, or a known trigger concentrates at least"
        f" {100 * t.library:g} points more of the images on one class than in the reference, or, without images, the"
        f" maximum margin has p < {t.margin:g}; clean if the score is at most {t.clean:g}; cannot tell otherwise"
    )
    if library is not None and library[1] >= t.library:
        reason = (
            f"the known trigger {library[0]} sends {100 * library[1]:.0f} points more of the images to one class than"
            " in the reference"
        )
        return ScanVerdict(word=BACKDOORED, score=score, reason=reason, rule=rule)
    if score is None:
        if margin is None:
            reason = "there is nothing to compare: no --reference model, or no trigger found in either"
            return ScanVerdict(word=UNKNOWN, score=None, reason=reason, rule=rule)
        found = f"one class's margin stands out with p = {margin:.3g}"
        if margin < t.margin:
            return ScanVerdict(word=BACKDOORED, score=None, reason=found, rule=rule)
        reason = f"no class's margin stands out (p = {margin:.3g}), which is no proof without images"
        return ScanVerdict(word=UNKNOWN, score=None, reason=reason, rule=rule)
    reason = (
        f"its triggers tell {score:.2f} times as much against it as the reference's do against the reference"
    )
    word = BACKDOORED if score >= t.backdoored else CLEAN if score <= t.clean else UNKNOWN
    return ScanVerdict(word=word, score=score, reason=reason, rule=rule)
