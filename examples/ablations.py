"""The papers' tables and figures on the built-in world: many runs of clipdefend, and one CSV of what they measured.

    python examples/ablations.py --runs ablations --out docs/results.csv --jobs 2

Finished runs are reused, so that an interrupted sweep continues where it stopped. The stages, in their order:

- ``victims``: six attacks on three seeds, two of them on the held-out seed too;
- ``rates``: the papers' methods at several learning rates on the held-out seed; the rate with the highest mean
  of BA@1 - ASR@1 is the method's own from then on;
- ``table``: six attacks, every method, three seeds;
- ``sweeps``: CleanerCLIP's own settings on one attack, one changed at a time;
- ``long``: the row of the table that trains on all pairs for longer.

``python examples/results.py docs/results.csv`` turns the CSV into docs/results.md and its plots.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from ablation_plan import DEFENCES, LONG, N_AUG, SHORT, Cell, rate_cells, sweep_cells, table_cells, victims

from clipdefend.__main__ import main as clipdefend

STAGES = ("victims", "rates", "table", "sweeps", "long")

Line = tuple[str, tuple[object, ...]]
"""A run's name, and the command and arguments that make it."""


class Runs:
    """A folder of runs that are carried out once.

    Args:
        folder: of the runs.
        jobs: number of runs at a time, each with one thread and no loader processes: so small a model gains little
            from more.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes of the pool when they import torch
        self.pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))

    def carry_out(self, lines: Iterable[Line]) -> None:
        """Run the commands side by side, each once."""
        distinct = dict(lines)
        list(self.pool.map(carry_out, [self.folder] * len(distinct), distinct.items()))

    def victims(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Poison, then train, for each attack and seed."""
        pairs = list(wanted)
        self.carry_out(
            (f"poison-{attack}-s{seed}", ("poison", "--attack", attack, "--seed", seed))
            for attack, seed in pairs
        )
        self.carry_out(
            (
                f"victim-{attack}-s{seed}",
                ("finetune-attack", "--from", self.folder / f"poison-{attack}-s{seed}", "--seed", seed),
            )
            for attack, seed in pairs
        )

    def defend(self, cells: Iterable[Cell]) -> None:
        self.carry_out((cell.run, self._defence(cell)) for cell in cells)

    def _defence(self, cell: Cell) -> tuple[object, ...]:
        given = DEFENCES[cell.method]
        pairs = () if given.pairs is None else ("--train-num-samples", given.pairs)
        return (
            *("defend", "--from", self.folder / f"victim-{cell.attack}-s{cell.seed}", "--seed", cell.seed),
            *("--method", given.method, "--lr", cell.rate, "--epochs", given.epochs, "--warmup", 20),
            *("--n-aug", N_AUG, "--val-pairs", 0, *pairs),
            *(f"--set={key}={value}" for key, value in (*given.sets, *cell.changes)),
        )

    def epochs(self, cell: Cell) -> Iterator[dict[str, Any]]:
        """Figures of every epoch of a cell; epoch 0 is the victim."""
        folder = self.folder / cell.run
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["event"] == "epoch":
                figures = {key: value for key, value in record.items() if key[:3] in ("ba@", "asr")}
                plain = {
                    key: round(value, 5) for key, value in figures.items() if key.split("@")[1].isdigit()
                }
                yield {"epoch": record["epoch"], **plain}


def carry_out(folder: Path, line: Line) -> None:
    """Run a command into ``folder / name`` unless that is finished; raises RuntimeError when it fails."""
    name, arguments = line
    out = folder / name
    if (out / "manifest.yaml").is_file():
        return
    place = ("--resume", out) if (out / "state").is_dir() else ("--out", out)
    if place[0] == "--out":
        shutil.rmtree(out, ignore_errors=True)  # interrupted before there was anything to resume
    args = [str(part) for part in (*arguments, "--workers", 0, *place, "--runs", folder)]
    with (
        (folder / f"{name}.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        code = clipdefend(args)
    if code:
        raise RuntimeError(f"{name} ended with {code}; see {log.name}")
    print(f"done {name}", file=sys.stderr, flush=True)


def choose_rates(runs: Runs) -> dict[str, float]:
    """Method -> the learning rate that keeps most accuracy and leaves least of the backdoor, held-out seed."""

    def worth(method: str, rate: float) -> float:
        cells = [cell for cell in rate_cells() if (cell.method, cell.rate) == (method, rate)]
        last = [list(runs.epochs(cell))[-1] for cell in cells]
        return mean(figures["ba@1"] - figures["asr@1"] for figures in last)

    def best(method: str, rates: tuple[float, ...]) -> float:
        return max(rates, key=lambda rate: worth(method, rate)) if len(rates) > 1 else rates[0]

    return {method: best(method, defence.rates) for method, defence in DEFENCES.items()}


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
    parser.add_argument("--jobs", type=int, default=2, help="number of runs at a time")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last stage to run")
    args = parser.parse_args()
    runs = Runs(args.runs.resolve(), args.jobs)
    wanted = STAGES[: STAGES.index(args.until) + 1]
    runs.victims(victims())
    cells: list[Cell] = []
    if "rates" in wanted:
        runs.defend(rate_cells())
        cells += rate_cells()
        rates = choose_rates(runs)
        print(json.dumps(rates), file=sys.stderr)
        for stage, more in (
            ("table", table_cells(rates, SHORT)),
            ("sweeps", sweep_cells(rates["cleanerclip"])),
            ("long", table_cells(rates, LONG)),
        ):
            if stage in wanted:
                runs.defend(more)
                cells += more
            write(runs, cells, args.out)


if __name__ == "__main__":
    main()
