"""Cost of a training step of unlearn, beside those of ft, cleanclip and cleanerclip.

    python benchmarks/unlearn.py [--model tiny] [--batch-size 64] [--precision fp32|bf16] [--turns 9]
                                 [--clock wall|processor] [--set KEY=VALUE ...] [--json]

The methods take turns with one optimiser step each, on the same pairs of the built-in world, from the same weights. A
step is everything but reading images and making the views that the loader makes: forward and backward pass, AdamW, and
what a defence does after it; "unlearn" pays for perturbing the images, for the frozen suspect's embeddings and for the
steps of its perturbations. "cleanerclip" is a step with a mini-batch of sub-captions of the same size, which only some
steps have; the others cost what "cleanclip" costs. ``--set`` changes parameters of unlearn, as in ``--set members=4``.

"ratio" is the median over the turns of the seconds divided by those of "ft" in the same turn.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import CLOCKS, arguments, carry_out, median_ratio, take_turns

from clipdefend.canvas import Canvas
from clipdefend.config import DefendConfig, TrainConfig, load_config
from clipdefend.console import Console
from clipdefend.data.builtin_pairs import BuiltinPairs
from clipdefend.data.pairs import Pairs
from clipdefend.defences.build_defence import build_defence
from clipdefend.models.load import default_weights, load_model
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job, freeze
from clipdefend.training.loop import Trainer
from clipdefend.training.step_costs import sample_batch
from clipdefend.training.towers import train_mode

METHODS = ("ft", "cleanclip", "cleanerclip", "unlearn")


def make_step(
    method: str, parameters: dict[str, Any], pairs: Pairs, config: TrainConfig, model: str, folder: Path
) -> Callable[[], None]:
    """Return a function that performs one optimiser step of a method on one batch.

    Args:
        method: name of the method.
        parameters: of ``unlearn``.
        pairs: that the batch is taken from.
        config: with the batch size and the precision.
        model: name of the model.
        folder: of a run; nothing is written there.
    """
    clip = load_model(model, default_weights(model) if model == "tiny" else "none")
    job = Job(
        model=clip,
        suspect=freeze(clip),
        defence=build_defence(method, {}, parameters if method == "unlearn" else {}),
        pairs=pairs,
        canvas=Canvas(clip.image_size),
        config=config,
        seed=0,
        folder=folder,
        title=method,
    )
    trainer = Trainer(job, make_accelerator("cpu", config.precision), Console(silent=True))
    stage = trainer.timetable.stages[0]
    trainer.stepper.begin_epoch(stage, 0)
    train_mode(trainer.stepper.model, config.batch_norm)
    batch = sample_batch(trainer, stage, config.batch_size, subset=stage.phase.objective.has_subset)
    number = 0

    def step() -> None:
        nonlocal number
        trainer.stepper.step([batch], stage, epoch=0, number=number, rate=config.lr)
        number += 1

    return step


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Return a row for each method."""
    sets = [f"defence.{text}" for text in args.set]
    parameters = load_config(DefendConfig, sets=["method=unlearn", *sets]).defence
    pairs = BuiltinPairs("train")
    config = TrainConfig(batch_size=args.batch_size, epochs=1, lr=1e-6, warmup=0, precision=args.precision)
    work = {
        method: make_step(method, parameters, pairs, config, args.model, folder / method)
        for method in METHODS
    }
    times = take_turns(work, args.turns, CLOCKS[args.clock])
    return [
        {
            "step": method,
            "milliseconds": 1000 * statistics.median(seconds),
            "ratio": median_ratio(seconds, times["ft"]),
        }
        for method, seconds in times.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="parameter of unlearn"
    )
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
