"""Speed of a training step against the bare forward and backward pass of the same tensors.

    python benchmarks/training.py [--model RN50] [--batch-size 32] [--method cleanclip]
                                  [--precision fp32|bf16] [--steps 3] [--turns 3] [--json]

Ours is the program's own training as its log gives it: reading and decoding JPEGs of COCO's size, augmentation,
tokens, both towers on all views, loss, backward pass, clipping of the scale, AdamW. It does the reading in the
training process (no workers), so nothing of it is hidden. The floors take turns with it, an epoch of a few steps
each:

- "bare": open_clip's towers, forward and backward, on the same views already in memory, all views in one batch,
  in the same precision, with texts of 77 tokens as open_clip's tokenizer makes them; no optimiser, no input.
- "public": the step of the published CleanCLIP code: float32, one pass for each view, 77 tokens, AdamW.

"ratio" is pairs a second over those of "bare" in the same turn, and "to public" over those of "public". Both can be
above 1, since our texts are cut to the longest caption of the batch, which changes no result.
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
from common import arguments, carry_out, invented, median_ratio, photo
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
    """A table of pairs; returns its path."""
    lines = ["image,caption"]
    for row, caption in enumerate(invented(count)):
        (folder / f"{row}.jpg").write_bytes(photo(row, 500, 375))
        lines.append(f"{row}.jpg,{caption}")
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


@dataclass
class Floor:
    """A plain step on views in memory.

    Args:
        clip: open_clip's model, a copy.
        images, tokens: normalised pixels and tokens of each view.
        precision: of the passes.
        together: all views of a tower in one pass, or one pass each.
        optimizer: steps when given.
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


def floors(model: ClipModel, job: Job, precision: str) -> dict[str, Floor]:
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
    optimizer = torch.optim.AdamW(_trained(clip), lr=1e-6)
    return {
        f"bare, {precision}": Floor(clip, images, tokens, precision, together=True),
        "public, fp32": Floor(clip, images, tokens, "fp32", together=False, optimizer=optimizer),
    }


def _trained(clip: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in clip.parameters() if parameter.requires_grad]


def logged(folder: Path, batch: int, steps: int) -> list[float]:
    """Median seconds of a step in each epoch, as the program logs them; the first epoch is not counted."""
    log = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    records = [record for record in map(json.loads, log) if record["event"] == "step"]
    seconds = [batch / record["samples_per_second"] for record in records]
    return [statistics.median(seconds[at : at + steps]) for at in range(steps, len(seconds), steps)]


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
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
    contestants = floors(model, job, args.precision)

    def turn(_: ClipModel, *, full: bool = False) -> dict[str, float]:
        """Between two epochs of ours the floors have theirs."""
        for floor in contestants.values():
            times = [floor.seconds.pop() for _ in range(args.steps) if floor() is None]
            floor.seconds.append(statistics.median(times))
        return {}

    job.evaluate = turn
    Trainer(job, make_accelerator("cpu", args.precision), Console(silent=True)).run()
    times = {f"clipdefend, {args.precision}": logged(folder, args.batch_size, args.steps)}
    times |= {name: floor.seconds[-args.turns :] for name, floor in contestants.items()}
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
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn, of which the median counts")
    parser.add_argument("--turns", type=int, default=3)
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
