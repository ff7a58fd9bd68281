"""Estimates the cost of evaluation and parsing on a small sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipdefend.augment.subcaptions import SubCaptioner
from clipdefend.data.image_reader import read_canvases
from clipdefend.data.pairs import Pairs
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.training.step_costs import seconds_of

IMAGES, PROMPTS, CAPTIONS = 16, 32, 32


@dataclass(frozen=True)
class EvaluationCosts:
    """Cost of one evaluation.

    Attributes:
        seconds: its duration.
        activations: bytes that its widest layer needs for a batch.
    """

    seconds: float = 0.0
    activations: float = 0.0


@torch.no_grad()
def evaluation_costs(model: ClipModel, benchmark: Benchmark, workers: int) -> EvaluationCosts:
    """Estimate the cost of one evaluation: reading all images, encoding them once or twice, and encoding all prompts.

    Args:
        model: in evaluation mode.
        benchmark: the images, the prompts and the trigger.
        workers: number of processes that read images.
    """
    read: list[Tensor] = []
    reading = seconds_of(lambda: read.extend(_readable(benchmark)), torch.device("cpu"))
    if not read:
        return EvaluationCosts()
    images, device = benchmark.images, model.device
    pixels = torch.stack(read).to(device)
    tokens = model.tokenize([f"a photo of a {name}" for name in images.classes[:PROMPTS]]).to(device)
    widest = _widest(model, pixels) / len(pixels)
    looking = seconds_of(lambda: model.encode_image(pixels), device) / len(pixels)
    prompting = seconds_of(lambda: model.encode_text(tokens), device) / len(tokens)
    passes = 2 if benchmark.trigger is not None else 1
    each = passes * looking + reading / len(read) / max(1, workers)
    seconds = len(images) * each + len(images.classes) * len(benchmark.templates) * prompting
    return EvaluationCosts(seconds, widest * passes * min(benchmark.batch_size, len(images)))


def _widest(model: ClipModel, pixels: Tensor) -> int:
    """Return the bytes of the inputs and outputs of the widest layer of the image tower."""
    bytes_of = [pixels.nbytes * 4]  # uint8 becomes float

    def note(module: nn.Module, given: tuple[object, ...], made: object) -> None:
        bytes_of.append(sum(x.nbytes for x in (*given, made) if isinstance(x, Tensor)))

    tower: nn.Module = model.clip.visual
    hooks = [module.register_forward_hook(note) for module in tower.modules()]
    try:
        model.encode_image(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return max(bytes_of)


def parsing_seconds(captioner: SubCaptioner, pairs: Pairs) -> float:
    """Return the seconds that the sub-captions of one caption take."""
    captions = pairs.captions(range(min(CAPTIONS, len(pairs))))
    return seconds_of(lambda: list(captioner.parse(captions)), torch.device("cpu")) / len(captions)


def _readable(benchmark: Benchmark) -> list[Tensor]:
    """Read a few canvases, spread evenly over the images; unreadable ones are left out."""
    images, count = benchmark.images, min(IMAGES, len(benchmark.images))
    rows = [number * len(images) // count for number in range(count)]
    return [pixels for _, pixels in read_canvases(images, rows, benchmark.canvas)]
