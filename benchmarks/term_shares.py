"""Cost of `--term-shares`: a training step whose terms are measured, compared with the same step without.

    python benchmarks/term_shares.py [--models tiny,RN50] [--method cleanclip] [--turns 5] [--json]

The two steps take turns on the same batch of the built-in pairs, which is in memory: forward and backward pass, AdamW
and the hooks of the defence, in fp32. "ratio" is the time of the measured step divided by that of the plain one in the
same turn, and "every ten" the mean over ten steps, of which the default measures one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

from common import arguments, carry_out, median_ratio, take_turns

from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.console import Console
from clipdefend.data.pairs import open_pairs
from clipdefend.defences.build_defence import build_defence
from clipdefend.models.load import load_model
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job
from clipdefend.training.loop import Trainer
from clipdefend.training.step_costs import sample_batch
from clipdefend.training.towers import train_mode

BATCHES = {"tiny": 64, "RN50": 8}
EVERY = TrainConfig().term_shares


def measure(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, object]]:
    """Yield a row for each model."""
    for name in args.models.split(","):
        size = BATCHES.get(name, 8)
        place = folder / name
        place.mkdir()
        model = load_model(name, None)
        job = Job(
            model=model,
            defence=build_defence(args.method),
            pairs=open_pairs("builtin", cache=place / "cache"),
            canvas=Canvas(model.image_size),
            config=TrainConfig(batch_size=size, epochs=1, lr=1e-6, warmup=0, device="cpu"),
            seed=0,
            folder=place,
            title="term shares",
        )
        trainer = Trainer(job, make_accelerator("cpu", "fp32"), Console(silent=True))
        (stage,) = trainer.timetable.stages
        stepper = trainer.stepper
        stepper.begin_epoch(stage, 0)
        train_mode(stepper.model, job.config.batch_norm)
        batch = sample_batch(trainer, stage, size, subset=False)

        def step(norms: bool) -> None:
            stepper.step([batch], stage, epoch=0, number=0, rate=1e-6, norms=norms)  # noqa: B023  (called at once)

        times = take_turns({"plain": lambda: step(False), "measured": lambda: step(True)}, args.turns)
        ratio = median_ratio(times["measured"], times["plain"])
        yield {
            "model": name,
            "batch": size,
            "plain, s": statistics.median(times["plain"]),
            "ratio": ratio,
            "every ten": 1 + (ratio - 1) / EVERY,
        }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", default=",".join(BATCHES), help="names, separated by commas")
    parser.add_argument("--method", default="cleanclip", help="a method of several terms")
    parser.add_argument("--turns", type=int, default=5)
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
