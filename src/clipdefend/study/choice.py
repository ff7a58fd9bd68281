"""The choice of hyper-parameters on held-out seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """One setting of what is chosen, with BA@1 and ASR@1 of its held-out runs, as fractions."""

    values: Mapping[str, Any]
    measured: tuple[tuple[float, float], ...]

    @property
    def ba(self) -> float:
        return math.fsum(ba for ba, _ in self.measured) / len(self.measured)

    @property
    def asr(self) -> float:
        return math.fsum(asr for _, asr in self.measured) / len(self.measured)


def choose(candidates: Sequence[Candidate], rule: str) -> Candidate | None:
    """The best candidate; the first of equals, None where none was measured.

    Only candidates with the most runs compete: one that failed on some seeds or attacks is not chosen for the rest.

    Args:
        candidates: in the order of the file.
        rule: "ba-asr": the largest mean of BA@1 - ASR@1. "asr<=X": the largest mean BA@1 among those whose mean
            ASR@1 is at most X; where there is none, the lowest mean ASR@1.
    """
    most = max((len(each.measured) for each in candidates), default=0)
    able = [each for each in candidates if most and len(each.measured) == most]
    if not able:
        return None
    if rule == "ba-asr":
        return max(able, key=lambda each: each.ba - each.asr)
    limit = float(rule.removeprefix("asr<="))
    within = [each for each in able if each.asr <= limit + 1e-9]
    return max(within, key=lambda each: each.ba) if within else min(able, key=lambda each: each.asr)
