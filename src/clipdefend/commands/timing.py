"""How long the parts of a training beside its steps take, from a few images, prompts and captions."""

from __future__ import annotations

import torch
from torch import Tensor

from clipdefend.augment.subcaptions import SubCaptioner
from clipdefend.data.pairs import Pairs
from clipdefend.errors import DataError
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.model import ClipModel
from clipdefend.training.probe import seconds_of

IMAGES, PROMPTS, CAPTIONS = 16, 32, 32


@torch.no_grad()
def evaluation_seconds(model: ClipModel, benchmark: Benchmark, workers: int) -> float:
    """Seconds of one evaluation: all images read, and encoded once or twice, and all prompts.

    Args:
        model: left in evaluation mode.
        benchmark: names the images, the prompts and the trigger.
        workers: processes that read images.
    """
    model.eval()
    read: list[Tensor] = []
    reading = seconds_of(lambda: read.extend(_readable(benchmark)), torch.device("cpu"))
    if not read:
        return 0.0
    images, device = benchmark.images, model.device
    pixels = torch.stack(read).to(device)
    tokens = model.tokenize([f"a photo of a {name}" for name in images.classes[:PROMPTS]]).to(device)
    looking = seconds_of(lambda: model.encode_image(pixels), device) / len(pixels)
    prompting = seconds_of(lambda: model.encode_text(tokens), device) / len(tokens)
    passes = 2 if benchmark.trigger is not None else 1
    each = passes * looking + reading / len(read) / max(1, workers)
    return len(images) * each + len(images.classes) * len(benchmark.templates) * prompting


def parsing_seconds(captioner: SubCaptioner, pairs: Pairs) -> float:
    """Seconds that the sub-captions of one caption take."""
    captions = pairs.captions(range(min(CAPTIONS, len(pairs))))
    return seconds_of(lambda: list(captioner.parse(captions)), torch.device("cpu")) / len(captions)


def _readable(benchmark: Benchmark) -> list[Tensor]:
    """A few canvases, from all over the images, without those that cannot be read."""
    images, count = benchmark.images, min(IMAGES, len(benchmark.images))
    found = []
    for number in range(count):
        try:
            found.append(benchmark.canvas(images.image(number * len(images) // count)))
        except DataError:
            continue
    return found
