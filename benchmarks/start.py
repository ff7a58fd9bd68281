"""What a short run costs in a process of its own and in one that `study` forks from a process with all imports.

    python benchmarks/start.py [--turns 5]

The run is `clipdefend poison` of 20 pairs of the built-in world. The imports of the forking process are not counted: it
makes them once, and then run after run. A ratio is the time divided by that of the fresh process in the same turn.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import arguments, carry_out, median_ratio, take_turns

from clipdefend.study.fork_server import ForkServer


def measure(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    numbers = itertools.count()
    server = ForkServer(os.environ)

    def words() -> list[str]:
        return ["poison", "--count", "20", "--quiet", "--out", str(folder / f"run-{next(numbers)}")]

    def fresh() -> None:
        command = [sys.executable, "-m", "clipdefend", *words()]
        subprocess.run(command, check=True, capture_output=True)

    def forked() -> None:
        if server.run(words(), folder / "log") != 0:
            raise RuntimeError((folder / "log").read_text())

    times = take_turns({"a process of its own": fresh, "forked": forked}, args.turns)
    server.close()
    floor = times["a process of its own"]
    for name, seconds in times.items():
        yield {
            "run": name,
            "seconds": statistics.median(seconds),
            "ratio": median_ratio(seconds, floor),
        }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=5)
    carry_out(parser, measure)
