"""The choice of a share among those that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 0.05
"""How far above the smallest proxy a share may be, where no bound is given: about twice the standard error of a share
of 192 images."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One share and its figures.

    Attributes:
        share: of the input model, 0 to 1.
        accuracy: BA@1, or what stands for it, 0 to 1.
        proxy: proxy ASR, 0 to 1.
    """

    share: float
    accuracy: float
    proxy: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen share.

    Attributes:
        candidate: the share and its figures.
        bound: largest proxy that was allowed.
        allowed: number of shares within the bound; 0 if the one with the smallest proxy was taken instead.
    """

    candidate: Candidate
    bound: float
    allowed: int


def choose_share(candidates: Sequence[Candidate], at_most: float | None) -> Choice:
    """Choose the share with the largest accuracy among those whose proxy is within a bound.

    Of equal ones the largest share is taken, which has the most of the input model. Where none is within the bound, it
    is the one with the smallest proxy, and of equal ones the most accurate. True success rates do not enter.

    Args:
        candidates: at least one.
        at_most: the bound; None: `MARGIN` above the smallest proxy of all.
    """
    smallest = min(each.proxy for each in candidates)
    bound = min(1.0, smallest + MARGIN) if at_most is None else at_most
    allowed = [each for each in candidates if each.proxy <= bound]
    if allowed:
        best = max(allowed, key=lambda each: (each.accuracy, each.share))
    else:
        best = max(candidates, key=lambda each: (-each.proxy, each.accuracy, each.share))
    return Choice(candidate=best, bound=bound, allowed=len(allowed))
