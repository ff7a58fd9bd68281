"""Cost of measuring BA and ASR together, compared with encoding the same images twice from memory.

    python benchmarks/evaluation.py [--model RN50] [--images 128] [--batch-size 32] [--attack blended]
                                    [--precision fp32|bf16] [--workers 0] [--turns 3] [--clock wall|processor] [--json]

JPEGs of COCO's size lie on disk in a folder per class. The floor holds their clean and their triggered tensors in
memory and only encodes both. clipdefend reads and decodes each file once, puts the trigger on, encodes both views,
encodes the class texts and counts hits with intervals. "times floor" is the time divided by the floor's in the same
turn, as the median over the turns: 1.1 means ten per cent more. "images/s" is the rate in that turn.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from common import CLOCKS, NOUNS, arguments, carry_out, median_turn, photo, take_turns
from torch import Tensor

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model

FLOOR = "encoding twice from memory"
CLASSES = 10


def make_folder(folder: Path, count: int) -> None:
    """Write photos into a folder per class."""
    for number in range(count):
        home = folder / NOUNS[number % CLASSES]
        home.mkdir(exist_ok=True)
        (home / f"{number}.jpg").write_bytes(photo(number, 500, 375))


def encoder(model: ClipModel, views: list[Tensor]) -> Callable[[], None]:
    """Return a call that encodes batches of images, each of shape (n, 3, h, w)."""

    @torch.no_grad()
    def encode() -> None:
        model.eval()
        for view in views:
            model.encode_image(view)

    return encode


def load_views(bench: Benchmark, batch: int) -> list[Tensor]:
    """Return all images in batches of ``batch`` clean and as many triggered ones, float in [0, 1]."""
    views = []
    for first in range(0, len(bench.images), batch):
        rows = range(first, min(first + batch, len(bench.images)))
        clean = torch.stack([bench.canvas(bench.images.image(row)) for row in rows]).float() / 255
        assert bench.trigger is not None
        views.append(torch.cat([clean, bench.trigger(clean, rows)]))
    return views


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Return a row for the floor and one for clipdefend."""
    make_folder(folder, args.images)
    model = load_model(args.model, "none").eval()
    size = model.image_size
    bench = Benchmark(
        images=open_labelled(str(folder)),
        templates=["a photo of a {}."],
        canvas=Canvas(size),
        ks=(1, 3, 5, 10),
        trigger=Trigger.create(args.attack, size=size, seed=0),
        target=0,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    work: dict[str, Callable[[], object]] = {
        FLOOR: encoder(model, load_views(bench, args.batch_size)),
        f"clipdefend, BA and ASR ({args.attack})": lambda: bench(model),
    }
    context = torch.autocast("cpu", torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()
    with context:
        quiet = {name: without_result(run) for name, run in work.items()}
        times = take_turns(quiet, args.turns, CLOCKS[args.clock])
    floor, ours = times.values()
    turn = median_turn(ours, floor)
    return [
        {
            "what": name,
            "model": args.model,
            "precision": args.precision,
            "images/s": args.images / seconds[turn],
            "times floor": seconds[turn] / floor[turn],
        }
        for name, seconds in times.items()
    ]


def without_result(run: Callable[[], object]) -> Callable[[], None]:
    """Return a call that drops the result, which ``take_turns`` would take for seconds."""

    def call() -> None:
        run()

    return call


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="RN50")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--attack", default="blended")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
