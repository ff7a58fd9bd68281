"""The choice of hyper-parameters on held-out seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend.evaluation.flat_metrics import defence_value

FIGURES = ("ba@1", "asr@1", "recovery@1")
"""What a choice is made from, and recorded with."""


@dataclass(frozen=True)
class Candidate:
    """One setting of what is chosen, with the flat metrics of each of its held-out runs."""

    values: Mapping[str, Any]
    measured: tuple[Mapping[str, float], ...]

    @property
    def figures(self) -> dict[str, float]:
        """The means of those of ``FIGURES`` that all runs have."""
        known = [name for name in FIGURES if all(name in metrics for metrics in self.measured)]
        return {name: self.mean(name) for name in known}

    def mean(self, figure: str) -> float:
        """The mean of a metric over the runs."""
        return self._mean_of(lambda metrics: metrics[figure])

    @property
    def value(self) -> float:
        return self._mean_of(defence_value)

    def _mean_of(self, what: Callable[[Mapping[str, float]], float]) -> float:
        return math.fsum(map(what, self.measured)) / len(self.measured)


def choose(candidates: Sequence[Candidate], rule: str) -> Candidate | None:
    """The best candidate; the first of equals, None where none was measured.

    Only candidates with the most runs compete: one that failed on some seeds or attacks is not chosen for the rest.

    Args:
        candidates: in the order of the file.
        rule: "value": the largest mean of ``defence_value``, BA@1 - ASR@1 + min(1, recovery@1). "ba-asr": that of
            BA@1 - ASR@1, as in papers that do not measure RA. "asr<=X": the largest mean BA@1 among those whose mean
            ASR@1 is at most X; where there is none, the lowest mean ASR@1.
    """
    most = max((len(each.measured) for each in candidates), default=0)
    able = [each for each in candidates if most and len(each.measured) == most]
    if not able:
        return None
    if rule == "value":
        return max(able, key=lambda each: each.value)
    if rule == "ba-asr":
        return max(able, key=lambda each: each.mean("ba@1") - each.mean("asr@1"))
    limit = float(rule.removeprefix("asr<="))
    within = [each for each in able if each.mean("asr@1") <= limit + 1e-9]
    if within:
        return max(within, key=lambda each: each.mean("ba@1"))
    return min(able, key=lambda each: each.mean("asr@1"))
