"""Speed of a training step, compared with the bare forward and backward pass on the same tensors.

    python benchmarks/training.py [--model RN50] [--batch-size 32] [--method cleanclip]
                                  [--precision fp32|bf16] [--steps 3] [--turns 3] [--json]

clipdefend's step is timed by the program's own log. It covers reading and decoding JPEGs of COCO's size, augmentation,
tokenising, both towers on all views, the loss, the backward pass, clamping the logit scale, and AdamW. Images are read
in the training process, without workers, so that none of that work is hidden. The floors take turns with it, an epoch
of a few steps each:

- "bare": forward and backward pass of open_clip's towers on the same views, which are in memory already, all views in
  one batch, in the same precision, on texts padded to 77 tokens by open_clip's tokenizer; no optimiser, no input.
- "public": the step of the published CleanCLIP code: float32, one pass for each view, 77 tokens, AdamW.

"ratio" is the rate in pairs per second divided by that of "bare" in the same turn, and "to public" the same for
"public". Both can exceed 1: clipdefend cuts texts to the longest caption of the batch, which leaves results unchanged.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from common import arguments, carry_out, median_ratio, photo, synthetic_captions
from torch import Tensor, nn
from torch.nn import functional as F

from clipdefend import losses
from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.console import Console
from clipdefend.data.pairs import open_pairs
from clipdefend.defences.build_defence import build_defence
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job
from clipdefend.training.loop import Trainer
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Views, collate


def make_pairs(folder: Path, count: int) -> str:
    """Write a table of pairs and its photos; return the table's path."""
    lines = ["image,caption"]
    for row, caption in enumerate(synthetic_captions(count)):
        (folder / f"{row}.jpg").write_bytes(photo(row, 500, 375))
        lines.append(f"{row}.jpg,{caption}")
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


@dataclass
class Floor:
    """A plain training step on views in memory.

    Args:
        clip: a copy of open_clip's model.
        images, tokens: normalised pixels, (n, 3, h, w), and tokens, (n, 77), of each view by its name.
        precision: "fp32" or "bf16", of both passes.
        together: whether all views go through a tower in one pass.
        optimizer: optional; called after the backward pass.
        seconds: time of each step so far.
    """

    clip: Any
    images: dict[str, Tensor]
    tokens: dict[str, Tensor]
    precision: str
    together: bool
    optimizer: torch.optim.Optimizer | None = None
    seconds: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        start = time.perf_counter()
        self.clip.train()
        for parameter in self.clip.parameters():
            parameter.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            image = self._encode(self.clip.encode_image, self.images)
            text = self._encode(self.clip.encode_text, self.tokens)
        scale = self.clip.logit_scale.exp()
        loss = losses.mmcl(image["clean"], text["clean"], scale)
        if "augmented" in image:
            loss = loss + losses.ssl(image["clean"], image["augmented"], text["clean"], text["eda"], scale)
        loss.backward()
        if self.optimizer is not None:
            self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)

    def _encode(self, encode: Callable[[Tensor], Tensor], views: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.together:
            return {view: F.normalize(encode(x).float(), dim=-1) for view, x in views.items()}
        vectors = F.normalize(encode(torch.cat(list(views.values()))).float(), dim=-1)
        return dict(zip(views, vectors.split([len(x) for x in views.values()]), strict=True))


def make_floors(model: ClipModel, job: Job, precision: str) -> dict[str, Floor]:
    """Return both floors by their labels, on the views of the job's first batch."""
    views = Views(
        pairs=job.pairs,
        canvas=job.canvas,
        tokenize=model.tokenizer,
        objective=job.phases[0].objective,
        seed=0,
    )
    batch = collate([views[PlannedRow(row, subset=False)] for row in range(job.config.batch_size)])
    images = {
        view: ((x.float() / 255 - model.mean) / model.std).contiguous() for view, x in batch.images.items()
    }
    tokens = {view: x.long() for view, x in batch.tokens.items()}
    clip = copy.deepcopy(model.clip)
    optimizer = torch.optim.AdamW(_trainable_parameters(clip), lr=1e-6)
    return {
        f"bare, {precision}": Floor(clip, images, tokens, precision, together=True),
        "public, fp32": Floor(clip, images, tokens, "fp32", together=False, optimizer=optimizer),
    }


def _trainable_parameters(clip: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in clip.parameters() if parameter.requires_grad]


def read_step_times(folder: Path, batch: int, steps: int) -> list[float]:
    """Return the median time of a step in each epoch, in seconds, from a run's log.

    Args:
        folder: of the run.
        batch: pairs of a step.
        steps: of an epoch; the first epoch is left out, as it warms up.
    """
    log = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    records = [record for record in map(json.loads, log) if record["event"] == "step"]
    seconds = [batch / record["samples_per_second"] for record in records]
    return [statistics.median(seconds[at : at + steps]) for at in range(steps, len(seconds), steps)]


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Return a row for clipdefend and one for each floor."""
    model = load_model(args.model, "none")
    config = TrainConfig(
        batch_size=args.batch_size,
        epochs=args.turns + 1,
        lr=1e-6,
        warmup=0,
        log_every=1,
        precision=args.precision,
        device="cpu",
    )
    job = Job(
        model=model,
        defence=build_defence(args.method),
        pairs=open_pairs(make_pairs(folder, args.batch_size * args.steps), cache=folder / "cache"),
        canvas=Canvas(model.image_size),
        config=config,
        seed=0,
        folder=folder,
        title="training",
    )
    floors = make_floors(model, job, args.precision)

    def take_turn(_: ClipModel, *, full: bool = False) -> dict[str, float]:
        """Run an epoch of each floor; called in place of the evaluation after each epoch of clipdefend."""
        for floor in floors.values():
            times = [floor.seconds.pop() for _ in range(args.steps) if floor() is None]
            floor.seconds.append(statistics.median(times))
        return {}

    job.evaluate = take_turn
    Trainer(job, make_accelerator("cpu", args.precision), Console(silent=True)).run()
    times = {f"clipdefend, {args.precision}": read_step_times(folder, args.batch_size, args.steps)}
    times |= {name: floor.seconds[-args.turns :] for name, floor in floors.items()}
    _, bare, public = times
    return [
        {
            "step": name,
            "pairs/s": args.batch_size / statistics.median(seconds),
            "ratio": median_ratio(times[bare], seconds),
            "to public": median_ratio(times[public], seconds),
        }
        for name, seconds in times.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="RN50")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--method", choices=("ft", "cleanclip"), default="cleanclip")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--steps", type=int, default=3, help="number of steps in a turn, of which the median counts"
    )
    parser.add_argument("--turns", type=int, default=3)
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
