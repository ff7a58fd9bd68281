"""Digests of what every command makes, one a line, to be compared before and after a change of the structure.

    python tests/result_digests.py FOLDER > before.txt

Runs a small chain of every command on pairs of the built-in world in ``FOLDER``, with fixed seeds. A digest is
of content: of tensors and not of the file around them, of tables' columns, of metrics without times.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from safetensors.numpy import load_file

PAIRS, PER_CLASS = 480, 3
ATTACKS = ("badnet", "blended", "sig", "wanet", "stripes-blend")
METHODS = ("ft", "ssl", "cleanclip", "cleanerclip", "par", "par-clean")
TRAIN = (
    "--epochs",
    "2",
    "--batch-size",
    "32",
    "--lr",
    "1e-3",
    "--warmup",
    "3",
    "--workers",
    "0",
    "--device",
    "cpu",
)
EVAL = ("--eval-data", "eval", "--topk", "1,3", "--templates", "builtin")
TIMES = ("second", "samples", "wait", "pace", "time")


def make_data(folder: Path) -> None:
    """Pairs as a table, and labelled images in a folder a class."""
    from clipdefend import world

    (folder / "images").mkdir(parents=True)
    train, evaluation = world.split("train"), world.split("eval")
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("filepath", "title"))
        for row in range(PAIRS):
            train.image(row).save(folder / "images" / f"{row:05d}.png")
            table.writerow((f"images/{row:05d}.png", train.caption(row)))
    seen: dict[int, int] = {}
    for row in range(len(evaluation)):
        label = int(evaluation.label(row))
        if seen.get(label, 0) < PER_CLASS:
            seen[label] = seen.get(label, 0) + 1
            place = folder / "eval" / world.CLASSES[label].replace(" ", "_")
            place.mkdir(parents=True, exist_ok=True)
            evaluation.image(row).save(place / f"{row:05d}.png")


def command(folder: Path, *args: str) -> None:
    """Run a command line; its errors are shown."""
    done = subprocess.run(
        (sys.executable, "-m", "clipdefend", *args), cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(args)}\n{done.stderr}")


def chain(folder: Path) -> None:
    """Every command, every method; runs have names of their own."""
    poison = ("--data", "pairs.csv", "--count", "60", "--image-size", "64", "--templates", "builtin")
    for attack in ATTACKS:
        command(folder, "poison", "--attack", attack, *poison, "--out", f"runs/{attack}")
    victim = ("--from", "runs/badnet", "--model", "tiny", *TRAIN, *EVAL)
    command(folder, "finetune-attack", *victim, "--out", "runs/victim")
    command(
        folder,
        "finetune-attack",
        *victim,
        "--accum-freq",
        "2",
        "--method",
        "cleanclip",
        "--out",
        "runs/accum",
    )
    command(folder, "augment", "--from", "runs/badnet", "--out", "runs/augment")
    for method in METHODS:
        defend = ("defend", "--from", "runs/victim", "--method", method, *TRAIN, *EVAL, "--n-aug", "64")
        command(folder, *defend, "--out", f"runs/{method}")
    command(folder, *defend[:-2], "--n-aug", "64", "--method", "cleanerclip", "--accum-freq", "2", "--set",
            "terms.par.weight=0.5", "--fc-schedule", "in-batch", "--out", "runs/mixed")  # fmt: skip
    for name in ("victim", "cleanerclip"):
        command(
            folder,
            "evaluate",
            "--from",
            f"runs/{name}",
            *EVAL,
            "--device",
            "cpu",
            "--out",
            f"runs/evaluate-{name}",
        )
    command(folder, "evaluate", "--from", "runs/par", *EVAL, "--device", "cpu", "--linear-probe", "eval", "--retrieval",
            "pairs.csv", "--out", "runs/evaluate-par")  # fmt: skip
    command(folder, "report", "--maps", "0", "--out", "report")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def timeless(values: Any) -> Any:
    """Without what depends on the clock."""
    if isinstance(values, dict):
        return {k: timeless(v) for k, v in sorted(values.items()) if not any(word in k for word in TIMES)}
    return [timeless(each) for each in values] if isinstance(values, list) else values


def digests(run: Path) -> Iterator[tuple[str, str]]:
    """Name and digest of each result of a run."""
    manifest = yaml.safe_load((run / "manifest.yaml").read_text())
    yield "metrics", digest(json.dumps(timeless(manifest["metrics"]), sort_keys=True).encode())
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".safetensors":
            tensors = load_file(path)
            yield (
                name,
                digest(
                    b"".join(k.encode() + np.ascontiguousarray(tensors[k]).tobytes() for k in sorted(tensors))
                ),
            )
        elif path.suffix == ".parquet":
            yield name, digest(repr(pq.read_table(path).to_pydict()).encode())
        elif path.name == "metrics.jsonl":
            lines = [json.dumps(timeless(json.loads(line))) for line in path.read_text().splitlines()]
            yield name, digest("\n".join(lines).encode())
    images = sorted((run / "images").rglob("*.png"))
    if images:
        yield "images/", digest(b"".join(path.read_bytes() for path in images))


def main() -> None:
    folder = Path(sys.argv[1])
    if not folder.exists():
        make_data(folder)
    chain(folder)
    for run in sorted((folder / "runs").iterdir()):
        if (run / "manifest.yaml").exists():
            for name, found in digests(run):
                print(f"{run.name:24} {name:36} {found}")
    print(f"{'report':24} {'table.csv':36} {digest((folder / 'report' / 'table.csv').read_bytes())}")


if __name__ == "__main__":
    main()
