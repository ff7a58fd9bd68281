"""The papers' tables and figures on the built-in world: many runs of clipdefend, and one CSV of what they measured.

    python examples/ablations.py --runs ablations --out docs/results.csv --jobs 2

Finished runs are used again, so that an interrupted sweep goes on where it stopped. The stages, in their order:

- ``victims``: six attacks on three seeds, two of them on the held-out seed too;
- ``rates``: every method at several learning rates on the held-out seed; the rate with the highest mean of
  BA@1 - ASR@1 is the method's own from then on;
- ``table``: six attacks, every method, three seeds;
- ``sweeps``: CleanerCLIP's own settings on two attacks, one changed at a time.

``python examples/results.py docs/results.csv`` makes docs/results.md and its plots of the CSV.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

ATTACKS = ("badnet", "blended", "sig", "wanet", "ssba", "badclip")
SEEDS = (1, 2, 3)
HELD_OUT = 9
CHOSEN_ON = ("badnet", "blended")
SWEPT_ON = ("badnet", "blended")
RATES = (5e-4, 1e-3, 2e-3)
DEFENCE = ("--train-num-samples", 5000, "--epochs", 2, "--warmup", 20, "--n-aug", 1000)
STAGES = ("victims", "rates", "table", "sweeps")

Settings = tuple[tuple[str, Any], ...]
METHODS: dict[str, tuple[str, Settings]] = {
    "ft": ("ft", ()),
    "cleanclip": ("cleanclip", ()),
    "cleanerclip": ("cleanerclip", ()),
    "par": ("par", ()),
    "cleanerclip+par": ("cleanerclip", (("terms.par.weight", 1.0),)),
}
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
    def run(self) -> str:
        """Name of its run; cells of several stages may share one."""
        changes = [f"{key.split('.')[-1]}={value}" for key, value in self.sets]
        return "-".join([self.method, *changes, f"{self.rate:g}", self.attack, f"s{self.seed}"])


class Runs:
    """A folder of runs that are carried out once.

    Args:
        folder: of the runs.
        jobs: how many at a time, each with one thread: so small a model gains little from more.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder, self.jobs = folder, jobs
        folder.mkdir(parents=True, exist_ok=True)

    def clipdefend(self, name: str, command: str, *arguments: object) -> Path:
        """The folder of the run ``name``, which is carried out unless it is finished."""
        out = self.folder / name
        if (out / "manifest.yaml").is_file():
            return out
        place = ("--resume", out) if (out / "state").is_dir() else ("--out", out)
        line = [command, *arguments, "--workers", 1, *place, "--runs", self.folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / f"{name}.log").open("w", encoding="utf-8") as log:
            subprocess.run(
                [sys.executable, "-m", "clipdefend", *map(str, line)],
                check=True,
                stdout=log,
                stderr=log,
                env=environment,
            )
        print(f"done {name}", file=sys.stderr, flush=True)
        return out

    def victim(self, attack: str, seed: int) -> Path:
        """The victim of an attack, poisoned and trained with one seed."""
        poison = self.clipdefend(f"poison-{attack}-s{seed}", "poison", "--attack", attack, "--seed", seed)
        name = f"victim-{attack}-s{seed}"
        return self.clipdefend(name, "finetune-attack", "--from", poison, "--seed", seed)

    def defend(self, cell: Cell) -> Path:
        """The defence of a cell."""
        victim = self.victim(cell.attack, cell.seed)
        method, own = METHODS[cell.method]
        sets = [f"--set={key}={value}" for key, value in (*own, *cell.sets)]
        given = ("--from", victim, "--method", method, "--seed", cell.seed, "--lr", cell.rate)
        return self.clipdefend(cell.run, "defend", *given, *DEFENCE, *sets)

    def victims(self, wanted: Iterable[tuple[str, int]]) -> None:
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(lambda pair: self.victim(*pair), wanted))

    def carry_out(self, cells: Iterable[Cell]) -> None:
        """Run cells side by side, those that share a run once."""
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self.defend, {cell.run: cell for cell in cells}.values()))

    def epochs(self, cell: Cell) -> Iterator[dict[str, Any]]:
        """Figures of every epoch of a cell; epoch 0 is the victim."""
        folder = self.folder / cell.run
        details = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))["details"]
        cost = {
            name: details[name] for name in ("training_seconds", "subcaption_seconds", "subcaption_steps")
        }
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["event"] == "epoch":
                figures = {key: value for key, value in record.items() if key[:3] in ("ba@", "asr")}
                plain = {
                    key: round(value, 5) for key, value in figures.items() if key.split("@")[1].isdigit()
                }
                yield {"epoch": record["epoch"], **plain, **cost}


def victims() -> list[tuple[str, int]]:
    """Attack and seed of every victim, the held-out ones first."""
    held_out = [(attack, HELD_OUT) for attack in CHOSEN_ON]
    return held_out + [(attack, seed) for seed in SEEDS for attack in ATTACKS]


def rate_cells() -> list[Cell]:
    """Every method at every learning rate on the held-out seed."""
    return [
        Cell("rates", f"{rate:g}", attack, method, HELD_OUT, rate)
        for attack in CHOSEN_ON
        for method in METHODS
        for rate in RATES
    ]


def choose_rates(runs: Runs) -> dict[str, float]:
    """Method -> the learning rate that keeps most accuracy and leaves least of the backdoor, held-out seed."""

    def worth(method: str, rate: float) -> float:
        cells = [cell for cell in rate_cells() if (cell.method, cell.rate) == (method, rate)]
        last = [list(runs.epochs(cell))[-1] for cell in cells]
        return mean(figures["ba@1"] - figures["asr@1"] for figures in last)

    return {method: max(RATES, key=lambda rate: worth(method, rate)) for method in METHODS}


def table_cells(rates: dict[str, float]) -> list[Cell]:
    """The main table; all methods of a seed before the next seed."""
    return [
        Cell("table", "", attack, method, seed, rates[method])
        for seed in SEEDS
        for attack in ATTACKS
        for method in METHODS
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


def write(runs: Runs, cells: Iterable[Cell], path: Path) -> None:
    """The figures of all cells that are finished, a line for each epoch."""
    lines = [
        {
            "stage": cell.stage,
            "setting": cell.setting,
            "attack": cell.attack,
            "method": cell.method,
            "seed": cell.seed,
            "lr": cell.rate,
            **figures,
        }
        for cell in cells
        if (runs.folder / cell.run / "manifest.yaml").is_file()
        for figures in runs.epochs(cell)
    ]
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("ablations"))
    parser.add_argument("--out", type=Path, default=Path("docs/results.csv"))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last stage to carry out")
    args = parser.parse_args()
    runs = Runs(args.runs, args.jobs)
    wanted = STAGES[: STAGES.index(args.until) + 1]
    runs.victims(victims())
    cells: list[Cell] = []
    if "rates" in wanted:
        runs.carry_out(rate_cells())
        cells += rate_cells()
        rates = choose_rates(runs)
        print(json.dumps(rates), file=sys.stderr)
        for stage, more in (("table", table_cells(rates)), ("sweeps", sweep_cells(rates["cleanerclip"]))):
            if stage in wanted:
                runs.carry_out(more)
                cells += more
            write(runs, cells, args.out)


if __name__ == "__main__":
    main()
