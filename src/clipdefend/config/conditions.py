"""Conditions on measured shares, such as ``asr@1>=0.9,ba@1>=0.55``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipdefend.errors import ConfigError

_FORM = re.compile(r"^(?P<metric>(?:ba|asr|ra)@[1-9]\d{0,5})\s*(?P<sign>>=|<=|=)\s*(?P<bound>[\d.eE+-]+)$")


@dataclass(frozen=True)
class Condition:
    """A bound on a metric.

    Attributes:
        metric: such as ``ba@1``.
        at_least: whether the bound is the lowest value that holds, else the highest.
        bound: a share from 0 to 1.
    """

    metric: str
    at_least: bool
    bound: float

    @property
    def k(self) -> int:
        """The k of the metric."""
        return int(self.metric.partition("@")[2])

    def holds(self, metrics: Mapping[str, float]) -> bool:
        """Whether metrics keep the bound; what was not measured does not."""
        value = metrics.get(self.metric)
        if value is None:
            return False
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{self.metric.upper()} {'>=' if self.at_least else '<='} {100 * self.bound:g} %"


def parse_conditions(given: str | None, flag: str) -> Sequence[Condition]:
    """Conditions that must all hold; ``ba@1=0.25`` stands for ``ba@1>=0.25``. None gives none.

    Raises:
        ConfigError: not of this form, or a bound outside 0 to 1.
    """
    if given is None:
        return ()
    found = []
    for part in str(given).split(","):
        match = _FORM.match(part.strip().lower())
        try:
            bound = float(match["bound"]) if match else -1.0
        except ValueError:
            bound = -1.0
        if match is None or not 0 <= bound <= 1:
            raise ConfigError(
                f"{flag} is {given!r}; it takes conditions on ba@K, asr@K and ra@K, shares from 0 to 1, such as"
                " ba@1>=0.55,asr@1>=0.9."
            )
        found.append(Condition(match["metric"], match["sign"] != "<=", bound))
    return found
