"""Rows that several poison runs of one model have poisoned."""

from __future__ import annotations

from collections.abc import Sequence

from clipdefend.errors import ConfigError
from clipdefend.poisoning import PoisonedPairs
from clipdefend.runs import Context, Run


def tell_overlaps(runs: Sequence[Run], layers: Sequence[PoisonedPairs], context: Context) -> None:
    """Say how many of a run's rows later runs have poisoned, too, for which only the last counts.

    Args:
        runs: poison runs in the order in which they are laid over each other.
        layers: their pairs.
        context: its console warns.

    Raises:
        ConfigError: a run loses more than half of its rows.
    """
    later: set[int] = set()
    for run, layer in reversed(list(zip(runs, layers, strict=True))):
        lost = len(later & layer.changed.keys())
        later |= layer.changed.keys()
        if not lost:
            continue
        said = (
            f"{lost:,} of the {len(layer.changed):,} rows that run {run.name} changed"
            " are changed by a later one, too"
        )
        if 2 * lost > len(layer.changed):
            raise ConfigError(f"{said}, which would replace them: poison with another --seed.")
        context.console.warn(f"{said}; the later one counts.")
