"""Tables of attacks and defences: figures over the seeds, and which of them are best."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clipdefend.objectives import METHODS
from clipdefend.report.escape import percent
from clipdefend.report.measurements import Measurement, Setting, tell_apart
from clipdefend.report.recipe import choose_label_keys, differing_keys, format_settings, label

CLEAN = "clean model"
NONE = "none"
SHARES = ("ba", "asr", "ra")
RATIOS = ("recovery",)
"""Figures without an interval, which can exceed 1."""
ATTACK_KEYS = ("poison.", "attack.")
"""Prefixes of the settings that distinguish attacks; all others distinguish defences."""
CONDITIONS = frozenset(
    f"defence.{key}" for key in ("data", "num_samples", "keep_poison", "exclude_manifest", "train.epochs")
)
"""Settings that are not a defender's to choose but given to it: pairs, poison among them, and budget."""


@dataclass(frozen=True)
class Figure:
    """A share of one model, or its mean over seeds; fractions.

    Attributes:
        value: the share, or the mean of the shares.
        low, high: for one model the 95 % Wilson interval, for several the mean minus and plus ``sd``; None for ratios.
        n: number of images that each share was measured on.
        seeds: number of models.
        sd: sample standard deviation over the seeds; None for one model.
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
    """A row of a table: one defence against one attack.

    Attributes:
        attack, defence: names, with the settings that distinguish them from others of the same name.
        base: the defence's name alone, which decides colour and marker.
        members: a measurement for each seed.
        figures: key such as "ba@1" -> figure.
        best: keys of the figures that are best among the defences against the attack.
        further: other settings that differ from rows of the same name, such as "beta1=0.9".
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
        """False for the victim and for the clean model."""
        return self.base not in (CLEAN, NONE)

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len(self.members)


@dataclass(frozen=True)
class Table:
    """The rows of one setting of the evaluation.

    Attributes:
        setting: what the rows have in common.
        ks: the k of the figures, ascending.
        rows: by attack and defence.
    """

    setting: Setting
    ks: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def attacks(self) -> list[str]:
        """The names of the attacks, in the order of the rows."""
        return list(dict.fromkeys(row.attack for row in self.rows))

    def of(self, attack: str) -> list[Row]:
        """Return the rows of an attack."""
        return [row for row in self.rows if row.attack == attack]


def build_tables(found: Sequence[Measurement]) -> list[Table]:
    """Return a table for each setting, the one with the most rows first."""
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
    ks = sorted(
        {int(key[3:]) for row in rows for key in row.figures if key.startswith("ba@") and key[3:].isdecimal()}
    )
    marked = [_with_best(row, rows) for row in rows]
    return Table(setting, tuple(ks), tuple(sorted(marked, key=_order)))


def _row(members: Sequence[Measurement], found: Sequence[Measurement]) -> Row:
    """Return the row of measurements that differ in their seeds alone, named to be unique among all of a table."""
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
    attack_names, names = choose_label_keys(alike, attack_keys), choose_label_keys(same, keys)
    left_out = sorted({*attack_keys, *keys} - {*attack_names, *names})
    return Row(
        attack=label(first.attack, first.recipe, attack_names),
        defence=label(first.defence, first.recipe, names),
        base=first.defence,
        members=tuple(members),
        figures=figures([one.values for one in members]),
        further=tuple(format_settings(first.recipe, left_out)),
    )


def describe_condition(row: Row, table: Table) -> str:
    """Return what a defender does not choose and like rows differ in: "keep_poison=5, num_samples=4000", or ""."""
    alike = [other.members[0].recipe for other in table.of(row.attack) if other.base == row.base]
    keys = [key for key in differing_keys(alike) if key in CONDITIONS]
    return ", ".join(format_settings(row.members[0].recipe, keys))


def attack_settings(one: Measurement) -> str:
    """Return the settings of a measurement's attack as a text, for comparison."""
    return json.dumps({k: v for k, v in one.recipe.items() if k.startswith(ATTACK_KEYS)}, sort_keys=True)


def figures(values: Sequence[Mapping[str, float]], prefix: str = "") -> dict[str, Figure]:
    """Return the figures that all seeds have.

    Args:
        values: flat metrics of each seed.
        prefix: such as "floor_"; only metrics with it count, and keys are returned without it.
    """
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
    """Return a row for the clean model under each attack whose runs recorded its figures, the floor."""
    made: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.is_defence):
        values = [{**one.values} for one in row.members]
        floor = figures(values, prefix="floor_")
        if floor and row.attack not in made:
            made[row.attack] = Row(row.attack, CLEAN, CLEAN, row.members, floor)
    return list(made.values())


def _with_best(row: Row, rows: Sequence[Row]) -> Row:
    """Mark the figures that are best among the defences against an attack: the lowest ASR, else the highest.

    Figures are compared as printed, so that readers never see one of two equal ones marked.
    """
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
    """Return the position of a defence: the clean model, the victim, then the methods in the order of ``METHODS``."""
    known = [CLEAN, NONE, *METHODS]
    return known.index(base) if base in known else len(known)
