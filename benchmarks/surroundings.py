"""What the settings of `clipdefend.surroundings` do for speed, on an idle machine and beside a competing load.

    python benchmarks/surroundings.py [--models tiny,RN50,ViT-B-32] [--steps 4] [--turns 1]

Every figure comes from a process of its own, since threads and memory are set up before torch is imported: one training
step (forward, backward, AdamW) of random weights on synthetic pairs, or the forward pass of an evaluation over as many
images. `default` has none of the settings, `waiting` lets idle threads sleep, `memory` keeps freed memory, `clipdefend`
does what the program does, and `study` is a process that the program has started. The competing load multiplies
matrices on as many cores as there are. A ratio is the time divided by that of `default` in the same turn: below 1 is
faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import arguments, carry_out, median_ratio

from clipdefend.surroundings import MALLOC

SETTINGS = ("default", "waiting", "memory", "clipdefend", "study")
BATCHES = {"tiny": 64, "RN50": 8, "ViT-B-32": 8}
OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "GLIBC_TUNABLES")
LOAD = "import torch; x = torch.rand(600, 600)\nwhile True: x = torch.tanh(x @ x)"


def time_work(model: str, work: str, steps: int) -> float:
    """Return the seconds of one step, the median of several after one to warm up.

    Args:
        model: a name that ``--model`` takes.
        work: "train" or "evaluate".
        steps: number of steps that are timed.
    """
    import torch

    from clipdefend.losses import mmcl
    from clipdefend.models.load import load_model

    clip = load_model(model, None)
    batch = BATCHES.get(model, 8)
    images = torch.randint(0, 256, (batch, 3, clip.image_size, clip.image_size)).to(torch.uint8)
    tokens = clip.tokenize([f"a photo of {number} cats" for number in range(batch)])
    optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-5)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        image, text, scale = clip(images, tokens)
        mmcl(image, text, scale).backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate() -> None:
        clip.encode_image(images)

    step: Callable[[], None] = train if work == "train" else evaluate
    clip.train(work == "train")
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def set_up(setting: str) -> None:
    """Apply a setting to this process, before torch is imported."""
    from clipdefend import surroundings

    if setting in {"clipdefend", "study"}:
        surroundings.tune_process()
    elif setting == "memory":
        surroundings.keep_memory()
    elif setting == "waiting":
        surroundings.tune_threads(os.environ)


def ask(model: str, work: str, setting: str, steps: int) -> float:
    """Return the seconds of a step, measured in a fresh process."""
    child = [sys.executable, str(Path(__file__)), "--child", setting, "--work", work]
    line = [*child, "--models", model, "--steps", str(steps)]
    environment = {key: value for key, value in os.environ.items() if key not in OWN}
    if setting == "study":
        environment["GLIBC_TUNABLES"] = MALLOC
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def competing_load(wanted: bool) -> Iterator[None]:
    """Keep all cores busy in a ``with`` block."""
    started = [subprocess.Popen([sys.executable, "-c", LOAD])] if wanted else []
    try:
        if wanted:
            time.sleep(5)  # until torch is imported
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measure(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each model, kind of work and state of the machine."""
    for model in args.models.split(","):
        for work in args.work.split(","):
            for busy in (machine == "busy" for machine in args.machine.split(",")):
                with competing_load(busy):
                    turns = [
                        {setting: ask(model, work, setting, args.steps) for setting in SETTINGS}
                        for _ in range(args.turns)
                    ]
                times = {setting: [turn[setting] for turn in turns] for setting in SETTINGS}
                yield {
                    "model": model,
                    "work": work,
                    "machine": "busy" if busy else "idle",
                    "default, s": statistics.median(times["default"]),
                    **{name: median_ratio(times[name], times["default"]) for name in SETTINGS[1:]},
                }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", default=",".join(BATCHES), help="names, separated by commas")
    parser.add_argument("--steps", type=int, default=4, help="steps that are timed in each process")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--child", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--work", default="train,evaluate", help="train, evaluate or both")
    parser.add_argument("--machine", default="idle,busy", help="idle, busy or both")
    args = parser.parse_args()
    if args.child is not None:
        set_up(args.child)
        print(json.dumps(time_work(args.models, args.work, args.steps)))
        return
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
