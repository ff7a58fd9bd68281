"""What ablations.py runs: attacks, defences with their budgets and learning rates, and the settings of its sweeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ATTACKS = ("badnet", "blended", "sig", "wanet", "ssba", "badclip")
SEEDS = (1, 2, 3)
HELD_OUT = 9
CHOSEN_ON = ("badnet", "blended")
SWEPT_ON = ("badnet",)
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
PAIRS, EPOCHS, N_AUG = 4000, 2, 1000

Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Defence:
    """A row of the table: a method with changes to its terms, the rates to choose from, and its budget.

    ``pairs`` are what it trains on, None for all that the attack was made from.
    """

    method: str
    sets: Settings = ()
    rates: tuple[float, ...] = RATES
    pairs: int | None = PAIRS
    epochs: int = EPOCHS


DEFENCES = {
    "ft": Defence("ft"),
    "cleanclip": Defence("cleanclip"),
    "cleanerclip": Defence("cleanerclip"),
    "par": Defence("par"),
    "cleanerclip+par": Defence("cleanerclip", (("terms.par.weight", 1.0),)),
    # What the README recommends, as it recommends it.
    "par-clean": Defence("par-clean", rates=(1.5e-3,), pairs=None, epochs=3),
}
LONG = ("par-clean",)
SHORT = tuple(method for method in DEFENCES if method not in LONG)
SWEEPS: dict[str, dict[str, Settings]] = {
    "lambda2": {f"{value:g}": (("terms.fc.weight", value),) for value in (0.0, 0.5, 1.0, 2.0, 5.0)},
    "temperatures": {
        f"{positive:g} / {negative:g}": (
            ("terms.fc.tau_positive", positive),
            ("terms.fc.tau_negative", negative),
        )
        for positive, negative in ((0.1, 0.1), (0.1, 0.3), (0.3, 0.1), (0.3, 0.3), (0.5, 0.5))
    },
    "n-aug": {str(count): (("n_aug", count),) for count in (50, 250, 500, 1000, 2000, 3000)},
    "parts": {
        "factual and counterfactual": (),
        "factual only": (("terms.fc.denominator", "positives"),),
        "counterfactual only": (("terms.fc.positive", "caption"),),
    },
    "source": {name: (("subcaptions.source", name),) for name in ("scene-graph", "eda", "spans")},
}
# The settings that are no change: they share the run of the table.
UNCHANGED = {
    ("terms.fc.weight", 1.0),
    ("terms.fc.tau_positive", 0.3),
    ("terms.fc.tau_negative", 0.3),
    ("n_aug", N_AUG),
    ("subcaptions.source", "scene-graph"),
}


@dataclass(frozen=True)
class Cell:
    """One defence of one victim, and where its figures belong."""

    stage: str
    setting: str
    attack: str
    method: str
    seed: int
    rate: float
    sets: Settings = ()

    @property
    def changes(self) -> Settings:
        return tuple(change for change in self.sets if change not in UNCHANGED)

    @property
    def run(self) -> str:
        """Name of its run; cells of several stages may share one."""
        changes = [f"{key.split('.')[-1]}={value}" for key, value in self.changes]
        return "-".join([self.method, *changes, f"{self.rate:g}", self.attack, f"s{self.seed}"])


def victims() -> list[tuple[str, int]]:
    """Attack and seed of every victim, the held-out ones first."""
    held_out = [(attack, HELD_OUT) for attack in CHOSEN_ON]
    return held_out + [(attack, seed) for seed in SEEDS for attack in ATTACKS]


def rate_cells() -> list[Cell]:
    """Every method that has a choice at each of its learning rates on the held-out seed."""
    return [
        Cell("rates", f"{rate:g}", attack, method, HELD_OUT, rate)
        for attack in CHOSEN_ON
        for method, defence in DEFENCES.items()
        for rate in defence.rates
        if len(defence.rates) > 1
    ]


def table_cells(rates: dict[str, float], methods: Iterable[str]) -> list[Cell]:
    """Rows of the main table, a seed of all of them before the next seed."""
    return [
        Cell("table", "", attack, method, seed, rates[method])
        for seed in SEEDS
        for attack in ATTACKS
        for method in methods
    ]


def sweep_cells(rate: float) -> list[Cell]:
    """CleanerCLIP with one setting changed at a time."""
    return [
        Cell(sweep, setting, attack, "cleanerclip", seed, rate, sets)
        for seed in SEEDS
        for sweep, settings in SWEEPS.items()
        for setting, sets in settings.items()
        for attack in SWEPT_ON
    ]
