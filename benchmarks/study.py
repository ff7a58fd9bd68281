"""Two Dask workers against one, in processes that share a folder, on a study of equal small runs, one thread each.

python benchmarks/study.py [--runs 4] [--epochs 1] [--pairs 4000] [--json]

Needs clipdefend[study]. The runs are victims trained on the first pairs of the built-in world; the poison
run, which all wait for, is made before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

import distributed
from clipdefend import world


def write_table(folder: Path, pairs: int) -> Path:
    """The first pairs of the built-in world as a table with pictures."""
    split = world.split("train")
    lines = ["image,caption"]
    for row in range(pairs):
        split.image(row).save(folder / f"{row}.png")
        lines.append(f'{row}.png,"{split.caption(row)}"')
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder / "pairs.csv"


def seconds(workers: int, args: argparse.Namespace, table: Path, folder: Path) -> float:
    """Of all the runs by that number of workers, their start excluded."""
    rates = [5e-4 * (1 + step / 100) for step in range(args.runs)]
    poison = {"data": str(table), "count": args.pairs // 40}
    victims = {"train.lr": rates, "train.epochs": args.epochs, "eval.data": "builtin", "eval.quick": 500}
    grid: dict[str, Any] = {
        "folder": str(folder / "made"),
        "preset": "quick",
        "workers": 0,
        "device": "cpu",
        "steps": {"poison": poison},
    }
    for steps in ({}, {"finetune-attack": victims}):
        grid["steps"].update(steps)
        (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
        with distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            words = ["study", "run", str(folder / "grid.yaml"), "--scheduler", cluster.scheduler_address]
            start = time.perf_counter()
            # Two jobs on two cores have a thread each, whatever the number of workers.
            words += ["--jobs", "2", "--quiet"]
            subprocess.run(
                [sys.executable, "-m", "clipdefend", *words], check=True, stdout=subprocess.DEVNULL
            )
            took = time.perf_counter() - start
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table = write_table(Path(place), args.pairs)
        rows = []
        for workers in (1, 2):
            folder = Path(place, f"{workers}-workers")
            folder.mkdir()
            rows.append({"workers": workers, "seconds": seconds(workers, args, table, folder)})
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
    if args.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['workers']} workers: {row['seconds']:.1f} s, ratio {row['ratio']:.2f}")


if __name__ == "__main__":
    main()
