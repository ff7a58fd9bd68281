"""The defences that ``clean`` tries: methods, each at several learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipdefend.errors import ConfigError

RATES: Mapping[str, tuple[float, ...]] = {
    "ft": (3,),
    "cleanclip": (3,),
    "par-clean": (1, 3),
    "unlearn": (2, 4),
}
"""Method -> its learning rates as multiples of ``--lr``: what is tried by default.

No method is the best on every model; plain fine-tuning is the cheapest, CleanCLIP the published standard, and the
last two keep the most accuracy on the built-in world.
"""
OTHERS = (1, 3)
"""Multiples of ``--lr`` for a method that is named without a rate and is not in ``RATES``."""


@dataclass(frozen=True, order=True)
class Candidate:
    """A method at a learning rate."""

    method: str
    lr: float

    def __str__(self) -> str:
        return f"{self.method} at {self.lr:g}"


def list_candidates(given: Sequence[str] | None, lr: float) -> list[Candidate]:
    """Return the candidates that a configuration asks for, each once.

    Args:
        given: METHOD or METHOD:RATE each; None for the default list.
        lr: the learning rate that multiples refer to.

    Raises:
        ConfigError: an empty list, or a rate that is not a positive number.
    """
    found: list[Candidate] = []
    for text in RATES if given is None else given:
        method, colon, rate = text.partition(":")
        if colon:
            found.append(Candidate(method, _rate(rate, text)))
        else:
            found += [Candidate(method, _rounded(lr * multiple)) for multiple in RATES.get(method, OTHERS)]
    if not found:
        raise ConfigError("--candidates is empty: name at least one defence, such as unlearn or ft:1e-5.")
    return list(dict.fromkeys(found))


def _rate(text: str, given: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ConfigError(f"--candidates {given!r} has no learning rate after the colon, as in ft:1e-5.")
    return rate


def _rounded(rate: float) -> float:
    """Three times 5e-4 is 1.5e-3, and not the nearest product of two binary numbers."""
    return float(f"{rate:.6g}")
