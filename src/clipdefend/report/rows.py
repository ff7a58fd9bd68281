"""The rows of the table: attacks x defences, over the seeds, with what is best."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clipdefend.objectives import METHODS
from clipdefend.report.escape import percent
from clipdefend.report.measurements import Measurement, Setting, tell_apart
from clipdefend.report.recipe import differing_keys, label, settings, telling

CLEAN = "clean model"
NONE = "none"
SHARES = ("ba", "asr", "ra")
RATIOS = ("recovery",)
"""Figures without an interval, which may be above 1."""
ATTACK_KEYS = ("poison.", "attack.")
"""Keys of a recipe that tell attacks apart; the others tell defences apart."""


@dataclass(frozen=True)
class Figure:
    """A share of one model, or its mean over seeds.

    Attributes:
        value: the share, or the mean of the shares.
        low, high: 95 % Wilson interval of one model; of several, the mean less and plus ``sd``; None for ratios.
        n: images that each share was measured on.
        seeds: number of models.
        sd: sample standard deviation over seeds; None for one.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    seeds: int
    sd: float | None = None

    def text(self) -> str:
        """Return the figure in percent: "82.3 [80.1, 84.4]", "82.3 ± 0.8" over seeds, "82.3" for a ratio."""
        if self.sd is not None:
            return f"{percent(self.value)} ± {percent(self.sd)}"
        if self.low is None or self.high is None:
            return percent(self.value)
        return f"{percent(self.value)} [{percent(self.low)}, {percent(self.high)}]"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        attack, defence: names for people, with the settings that tell them from like ones.
        base: the defence's name alone, which gives colour and marker.
        members: a measurement for each seed.
        figures: "ba@1" and so on.
        best: keys of the figures that are the best of their attack among defences.
        further: settings that differ from like rows too and that the names leave out, such as "beta1=0.9".
    """

    attack: str
    defence: str
    base: str
    members: tuple[Measurement, ...]
    figures: Mapping[str, Figure]
    best: frozenset[str] = frozenset()
    further: tuple[str, ...] = ()

    @property
    def is_defence(self) -> bool:
        return self.base not in (CLEAN, NONE)

    @property
    def seeds(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Table:
    """The rows of one setting of the evaluation."""

    setting: Setting
    ks: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def attacks(self) -> list[str]:
        return list(dict.fromkeys(row.attack for row in self.rows))

    def of(self, attack: str) -> list[Row]:
        """The rows of an attack."""
        return [row for row in self.rows if row.attack == attack]


def build_tables(found: Sequence[Measurement]) -> list[Table]:
    """One table for each setting, the one with the most rows first."""
    by_setting: dict[str, list[Measurement]] = {}
    for one in found:
        by_setting.setdefault(one.setting.key, []).append(one)
    settings = tell_apart([members[0].setting for members in by_setting.values()])
    made = [_table(each, members) for each, members in zip(settings, by_setting.values(), strict=True)]
    return sorted(made, key=lambda table: (-len(table.rows), table.setting.key))


def _table(setting: Setting, found: Sequence[Measurement]) -> Table:
    groups: dict[str, list[Measurement]] = {}
    for one in found:
        groups.setdefault(json.dumps([one.attack, one.defence, one.recipe], sort_keys=True), []).append(one)
    rows = [row for members in groups.values() for row in [_row(members, found)]]
    rows += _clean_rows(rows)
    ks = sorted({int(key[3:]) for row in rows for key in row.figures if key.startswith("ba@")})
    marked = [_with_best(row, rows) for row in rows]
    return Table(setting, tuple(ks), tuple(sorted(marked, key=_order)))


def _row(members: Sequence[Measurement], found: Sequence[Measurement]) -> Row:
    first = members[0]
    alike = [one.recipe for one in found if one.attack == first.attack]
    attack_keys = [key for key in differing_keys(alike) if key.startswith(ATTACK_KEYS)]
    mine = attack_settings(first)
    same = [
        one.recipe
        for one in found
        if (one.attack, one.defence) == (first.attack, first.defence) and attack_settings(one) == mine
    ]
    keys = [key for key in differing_keys(same) if not key.startswith(ATTACK_KEYS)]
    attack_names, names = telling(alike, attack_keys), telling(same, keys)
    left_out = sorted({*attack_keys, *keys} - {*attack_names, *names})
    return Row(
        attack=label(first.attack, first.recipe, attack_names),
        defence=label(first.defence, first.recipe, names),
        base=first.defence,
        members=tuple(members),
        figures=figures([one.values for one in members]),
        further=tuple(settings(first.recipe, left_out)),
    )


def attack_settings(one: Measurement) -> str:
    """The attack's settings, for comparison."""
    return json.dumps({k: v for k, v in one.recipe.items() if k.startswith(ATTACK_KEYS)}, sort_keys=True)


def figures(values: Sequence[Mapping[str, float]], prefix: str = "") -> dict[str, Figure]:
    """Figures over seeds of the shares that all of them have."""
    found: dict[str, Figure] = {}
    for key in values[0]:
        name = key.removeprefix(prefix)
        share, at, k = name.partition("@")
        if not (key.startswith(prefix) and at and share in (*SHARES, *RATIOS) and k.isdigit()):
            continue
        ends = ("", "_low", "_high") if share in SHARES else ("",)
        if all(f"{key}{end}" in each for each in values for end in ends):
            count = "n_clean" if share == "ba" else "n_triggered"
            found[name] = _figure(
                [each[key] for each in values], values[0], key, int(values[0].get(count, 0))
            )
    return found


def _figure(shares: Sequence[float], first: Mapping[str, float], key: str, n: int) -> Figure:
    bounded = f"{key}_low" in first
    if len(shares) == 1:
        return Figure(shares[0], first.get(f"{key}_low"), first.get(f"{key}_high"), n, 1)
    mean = math.fsum(shares) / len(shares)
    sd = math.sqrt(math.fsum((share - mean) ** 2 for share in shares) / (len(shares) - 1))
    low, high = (max(0.0, mean - sd), min(1.0, mean + sd)) if bounded else (None, None)
    return Figure(mean, low, high, n, len(shares), sd)


def _clean_rows(rows: Sequence[Row]) -> list[Row]:
    """A row for the clean model of each attack whose runs carry its figures, the floor."""
    made: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.is_defence):
        values = [{**one.values} for one in row.members]
        floor = figures(values, prefix="floor_")
        if floor and row.attack not in made:
            made[row.attack] = Row(row.attack, CLEAN, CLEAN, row.members, floor)
    return list(made.values())


def _with_best(row: Row, rows: Sequence[Row]) -> Row:
    """Mark what is best of its attack among defences, as printed: the highest BA and RA, the lowest ASR."""
    if not row.is_defence:
        return row
    rivals = [other for other in rows if other.attack == row.attack and other.is_defence]
    best = set()
    for key, figure in row.figures.items():
        values = [float(percent(other.figures[key].value)) for other in rivals if key in other.figures]
        wanted = min(values) if key.startswith("asr") else max(values)
        if len(rivals) > 1 and float(percent(figure.value)) == wanted:
            best.add(key)
    return replace(row, best=frozenset(best))


def _order(row: Row) -> tuple[str, int, str, str]:
    return (row.attack, rank_defence(row.base), row.base, row.defence)


def rank_defence(base: str) -> int:
    """Place of a defence: the clean model, none, then the methods in their own order."""
    known = [CLEAN, NONE, *METHODS]
    return known.index(base) if base in known else len(known)
