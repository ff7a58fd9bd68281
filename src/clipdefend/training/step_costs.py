"""Estimates time and memory of training steps of any size from a few real steps on small batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from clipdefend.training.loop import Trainer
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Batch, SameCaption, Views, collate
from clipdefend.training.stepper import Stepper
from clipdefend.training.timetable import Stage
from clipdefend.training.towers import compilation_faults, train_mode

SIZES = (4, 16)
# Beside what the backward pass needs: gradients of activations, workspaces of convolutions, fragmentation.
OVERHEAD = 1.3


@dataclass(frozen=True)
class Linear:
    """A cost ``fixed + slope * n`` for a batch of n."""

    fixed: float
    slope: float

    def __call__(self, size: int) -> float:
        return self.fixed + self.slope * size

    @classmethod
    def through(cls, points: list[tuple[int, float]]) -> Linear:
        """Fit a line through the first and the last point, or through the origin if that line would not rise."""
        (n, low), (m, high) = points[0], points[-1]
        slope = (high - low) / (m - n) if m > n else 0.0
        if slope <= 0 or low - slope * n < 0:
            return cls(0.0, high / m)
        return cls(low - slope * n, slope)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of one phase of a training run.

    Attributes:
        seconds: seconds of a step of n pairs in one process.
        extra_seconds: seconds that a sub-caption batch of n adds to a step.
        activations: bytes held for the backward pass of a step of n pairs and n sub-captioned ones.
        weights: bytes of weights, gradients, optimiser state and reference model.
        parameters: bytes of the weights alone.
        reading: seconds to read a pair and make its views, in one process.
    """

    seconds: Linear
    extra_seconds: Linear
    activations: Linear
    weights: float
    parameters: float
    reading: float

    def memory(self, size: int) -> float:
        """Return the bytes that a training step of ``size`` pairs needs."""
        return self.weights + OVERHEAD * self.activations(size)


def measure_steps(trainer: Trainer, stage: Stage) -> Costs:
    """Measure a few real steps of a phase; the trainer's model is unusable afterwards.

    Args:
        trainer: the trainer of a job with few pairs, because the defence may process all of them.
        stage: the phase to measure.

    Raises:
        DataError: too many rows cannot be used.
    """
    with compilation_faults(trainer.job.config.compile):
        return _measure(trainer, stage)


def _measure(trainer: Trainer, stage: Stage) -> Costs:
    job, stepper = trainer.job, trainer.stepper
    stepper.begin_epoch(stage, stage.first_epoch)
    top = min(job.config.batch_size, stage.plan.rows)
    sizes = sorted({max(2, min(size, top)) for size in SIZES})
    subset = stage.phase.objective.has_subset
    train_mode(stepper.model, job.config.batch_norm)
    # Warm up: the first step is slower than all others.
    _step(stepper, stage, [sample_batch(trainer, stage, sizes[0], subset=False)])
    plain, extra, saved, reading = [], [], [], 0.0
    for size in sizes:
        began = time.perf_counter()
        batch = sample_batch(trainer, stage, size, subset=False)
        reading = (time.perf_counter() - began) / size
        alone, held = time_step(trainer, stage, batch)
        more = 0.0
        if subset:
            both, held = time_step(trainer, stage, sample_batch(trainer, stage, size, subset=True))
            more = max(0.0, both - alone)
        plain.append((size, alone))
        extra.append((size, more))
        saved.append((size, float(held)))
    weights = _bytes(trainer.bare)
    trained = sum(p.nbytes for p in trainer.bare.parameters() if p.requires_grad)
    reference = _bytes(job.suspect) if job.needs_reference and job.suspect is not None else 0
    return Costs(
        seconds=Linear.through(plain),
        extra_seconds=Linear.through(extra),
        activations=Linear.through(saved),
        weights=weights + 3 * trained + reference,  # the gradient and Adam's two moments
        parameters=weights,
        reading=reading,
    )


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes, including the work that it queues on a device."""
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _step(stepper: Stepper, stage: Stage, batches: list[Batch]) -> None:
    stepper.step(batches, stage, epoch=stage.first_epoch, number=0, rate=stage.config.lr)


def time_step(trainer: Trainer, stage: Stage, batch: Batch) -> tuple[float, int]:
    """Return seconds of a step (with ``--accum-freq``, of a micro-batch) and bytes held for its backward pass."""
    device, stepper = trainer.accelerator.device, trainer.stepper
    own = {p.untyped_storage().data_ptr() for p in trainer.bare.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    parts = [batch] * min(
        2, trainer.job.config.accum_freq
    )  # two micro-batches take the path with two forward passes
    seconds = min(seconds_of(lambda: _step(stepper, stage, parts), device) for _ in range(2)) / len(parts)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        _step(stepper, stage, [batch])
    return seconds, sum(held.values())


def sample_batch(trainer: Trainer, stage: Stage, size: int, *, subset: bool) -> Batch:
    """Load ``size`` pairs spread evenly over a phase and, if ``subset`` is set, the same number with sub-captions."""
    job = trainer.job
    plan = stage.plan_for(trainer.stepper.rows(stage, stage.first_epoch))
    places = [number * plan.rows // size for number in range(size)]
    rows = places if plan.only is None else [int(plan.only[place]) for place in places]
    captions = {row: job.pairs.caption(row) for row in rows}
    views = Views(
        pairs=job.pairs,
        canvas=job.canvas,
        tokenize=trainer.bare.tokenizer,
        objective=stage.phase.objective,
        seed=job.seed,
        subcaptions={row: SameCaption(text, text) for row, text in captions.items() if text},
        only=plan.only,
    )
    samples = [views[PlannedRow(row, False)] for row in rows]
    if subset:
        samples += [views[PlannedRow(row, True)] for row in views.subcaptions]
    return collate(samples)


def _bytes(model: nn.Module) -> int:
    return sum(p.nbytes for p in model.parameters())
