"""Sweeps: sets of runs that vary one setting, found by their resolved configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend.report.recipe import differing_keys, short_key
from clipdefend.report.rows import Row, Table


@dataclass(frozen=True)
class Sweep:
    """Rows that differ in a single setting.

    Attributes:
        attack, defence: their base names.
        key: dotted key of the setting.
        points: (value, row), ascending; after numbers come other values, sorted by their texts.
    """

    attack: str
    defence: str
    key: str
    points: tuple[tuple[Any, Row], ...]

    @property
    def name(self) -> str:
        """The name of the setting."""
        return short_key(self.key)

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in self.points)


def find_sweeps(table: Table) -> list[Sweep]:
    """Find the sweeps in a table: for each attack and defence, the settings that are varied one at a time.

    They are varied about a base, the row that differs from the largest number of others in a single setting.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        if row.is_defence or row.base == "none":
            groups.setdefault((row.members[0].attack, row.base), []).append(row)
    found = []
    for (attack, defence), rows in groups.items():
        for key, points in _one_at_a_time(rows):
            found.append(Sweep(attack, defence, key, points))
    return found


def _one_at_a_time(rows: Sequence[Row]) -> list[tuple[str, tuple[tuple[Any, Row], ...]]]:
    """Return key and points of each setting that some rows vary about the base."""
    recipes = [row.members[0].recipe for row in rows]
    keys = differing_keys(recipes)

    def apart(a: int, b: int) -> list[str]:
        return [key for key in keys if recipes[a].get(key) != recipes[b].get(key)]

    if not keys:
        return []
    everyone = range(len(rows))
    near = [sum(len(apart(base, other)) == 1 for other in everyone) for base in everyone]
    base = near.index(max(near))
    found = []
    for key in keys:
        members = [other for other in everyone if apart(base, other) in ([], [key])]
        points = [(recipes[other].get(key), rows[other]) for other in members]
        if len(points) > 1:
            found.append((key, tuple(sorted(points, key=lambda point: _sortable(point[0])))))
    return found


def _sortable(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, str(value))
