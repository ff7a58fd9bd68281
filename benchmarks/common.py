"""Shared parts of the benchmarks: synthetic photos and captions, timing in turns, memory use, tables.

The machine may be busy with other work. Contestants therefore take turns within one process, in an order that changes
from turn to turn, and a figure is the median over the turns of its ratio to the floor in the same turn.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipdefend.draws import generator

PATTERNS = (
    "a {a} {n} {v}ing a {b} {m}",
    "two {a} {n}s are standing next to the {b} {m} in a kitchen",
    "A {n} with a {m} on top of it near a {b} window.",
    "there is a {a} {n} that is sitting in front of a {m}",
    "a group of {n}s {v}ing the {m} while looking at the {b} sky",
    "The {n} was parked behind a {b} {m} and a small tree",
    "a photo of a {a} {n}",
)
NOUNS = [
    "dog",
    "cat",
    "car",
    "bench",
    "table",
    "girl",
    "boy",
    "train",
    "banana",
    "pizza",
    "zebra",
    "laptop",
    "clock",
    "umbrella",
    "bird",
    "horse",
]
WORDS = ["red", "small", "old", "wooden", "striped", "large", "young", "dirty", "shiny", "green"]
VERBS = ["hold", "carry", "pull", "push", "watch", "lift", "paint", "wash", "follow", "throw"]


def synthetic_captions(n: int) -> list[str]:
    """Return ``n`` captions of about the length of COCO's, the same on every call."""
    captions = []
    for i in range(n):
        rng = random.Random(i)
        pattern = rng.choice(PATTERNS)
        first, second = rng.sample(NOUNS, 2)
        a, b = rng.sample(WORDS, 2)
        captions.append(pattern.format(a=a, b=b, n=first, m=second, v=rng.choice(VERBS)))
    return captions


def photo(number: int, side: int, height: int | None = None) -> bytes:
    """Return a JPEG of smooth shapes with some noise, which compresses about as well as a photo.

    Args:
        number: seed of the content.
        side: width in pixels.
        height: in pixels; by default as wide.
    """
    size = (side, height or side)
    draw = generator(0, "photo", number)
    coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(size)
    grain = draw.normal(0, 6, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def processor_time() -> float:
    """Return the processor time, in seconds, of this process and of its child processes that have ended.

    Unlike the wall clock it does not count time in which other processes of the machine ran.
    """
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": processor_time}


def take_turns(
    work: Mapping[str, Callable[[], float | None]],
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each contestant in each turn.

    Args:
        work: label -> contestant. One that returns seconds is trusted; one that returns None is timed by ``clock``.
        turns: number of turns, after one to warm up.
        clock: returns seconds.

    Returns:
        Label -> seconds in each turn.
    """
    names = list(work)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, turns):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            start = clock()
            own = work[name]()
            seconds = clock() - start if own is None else own
            if turn >= 0:
                times[name].append(seconds)
    return times


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median over the turns of the ratio of ``over`` to ``under``."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def median_turn(over: Sequence[float], under: Sequence[float]) -> int:
    """Return the turn whose ratio of ``over`` to ``under`` is the median, for an even number the higher of the two."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return ratios.index(statistics.median_high(ratios))


def resident_memory(pid: int | str = "self") -> float:
    """Return the memory that a process holds, in MB.

    Pages that n processes share count 1/n each, so that a sum over processes counts them once. On systems other than
    Linux this is the peak of the current process, whatever the ``pid``.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        line = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser of a benchmark that prints rows.

    Args:
        description: the benchmark's docstring.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def carry_out(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace, Path], Iterable[Mapping[str, Any]]],
) -> None:
    """Parse the arguments, measure in a temporary folder and print the rows."""
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(measure(args, Path(folder)), args.json)


def show(rows: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows, which share their keys, as a Markdown table or as JSON."""
    rows = list(rows)
    if as_json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return
    keys = list(rows[0])
    lines = [keys, *([_cell(row[key]) for key in keys] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(keys))]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
