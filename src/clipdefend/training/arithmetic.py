"""``--precision auto``: finds the fastest precision and image layout for a model on a device."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from clipdefend.config import TrainConfig
from clipdefend.losses import mmcl
from clipdefend.models.clip import ClipModel
from clipdefend.runs.files import atomic_write
from clipdefend.runs.manifest import ARITHMETIC
from clipdefend.training.step_costs import seconds_of
from clipdefend.training.towers import train_mode

GAIN = 0.9
"""Largest share of fp32's time at which another arithmetic is chosen; smaller gains are within the noise."""
TRIES = 2
CPU_BATCH, GPU_BATCH = 8, 64
LAYOUTS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How a training run computes.

    Attributes:
        precision: "fp32", "bf16" or "fp16".
        layout: layout of images in memory, "channels-last" or "contiguous".
        seconds: each candidate, such as "bf16 channels-last" -> seconds of a small step.
    """

    precision: str
    layout: str
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return, for example, "bf16 channels-last (a small step takes 0.11 s; fp32 channels-last 0.2 s)"."""
        chosen = f"{self.precision} {self.layout}"
        others = "; ".join(
            f"{name} {seconds:.3g} s" for name, seconds in self.seconds.items() if name != chosen
        )
        return (
            f"{chosen} (a small step takes {self.seconds[chosen]:.3g} s; {others or 'nothing else to try'})"
        )


def choose_arithmetic(seconds: Mapping[str, float]) -> str:
    """Return the fastest candidate, or the first unless another one is at least a tenth faster.

    Args:
        seconds: candidate, such as "fp32 channels-last" -> seconds of a step, with the default first.
    """
    default = next(iter(seconds))
    fastest = min(seconds, key=lambda name: seconds[name])
    return fastest if seconds[fastest] <= GAIN * seconds[default] else default


def measure_arithmetic(model: ClipModel, train: TrainConfig, device: torch.device) -> Arithmetic:
    """Try a few small steps, forward and backward, on a copy of the model and synthetic pairs.

    Args:
        model: the model, which is not changed.
        train: the training options.
        device: the training device.
    """
    trial = copy.deepcopy(model).to(device).requires_grad_(True)
    train_mode(trial, train.batch_norm)
    batch = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, model.image_size, model.image_size), generator=draw)
    pixels = images.to(torch.uint8).to(device)
    tokens = model.tokenize([f"a photo of {number} cats" for number in range(batch)]).to(device)

    def step(precision: str) -> None:
        trial.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=TYPES[precision], enabled=precision != "fp32"):
            image, text, scale = trial(pixels, tokens)
        mmcl(image, text, scale).backward()

    seconds = {}
    for layout in _layouts(model):
        trial.set_layout(LAYOUTS[layout])
        for precision in _precisions(device):
            times = [seconds_of(lambda: step(precision), device) for _ in range(1 + TRIES)]  # noqa: B023
            seconds[f"{precision} {layout}"] = min(times[1:])
    precision, layout = choose_arithmetic(seconds).split()
    return Arithmetic(precision=precision, layout=layout, seconds=seconds)


def settle_arithmetic(folder: Path, measure: Callable[[], Arithmetic]) -> Arithmetic:
    """Return the recorded choice of a resumed run, or measure and record it.

    Args:
        folder: the run folder, which records the choice so that a resumed run computes as before.
        measure: called if no choice is recorded.
    """
    file = folder / ARITHMETIC
    if file.exists():
        return Arithmetic(**json.loads(file.read_text(encoding="utf-8")))
    chosen = measure()
    atomic_write(file, json.dumps(asdict(chosen)) + "\n")
    return chosen


def _layouts(model: ClipModel) -> list[str]:
    """Return the layouts to try: they only matter for convolutions, and some towers crash with channels-last."""
    if model.architecture.memory_format == torch.contiguous_format:
        return ["contiguous"]
    convolves = any(
        isinstance(module, torch.nn.Conv2d) and module.kernel_size != module.stride
        for module in model.modules()
    )
    return ["channels-last", "contiguous"] if convolves else ["channels-last"]


def _precisions(device: torch.device) -> list[str]:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return ["fp32", "fp16"]
    return ["fp32"] if device.type == "mps" else ["fp32", "bf16"]
