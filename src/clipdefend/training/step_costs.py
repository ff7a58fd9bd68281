"""What a training run will cost, from a few real steps on small batches: time and memory of a step of any size."""

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
    """A cost ``fixed + slope * n`` of a batch of n."""

    fixed: float
    slope: float

    def __call__(self, size: int) -> float:
        return self.fixed + self.slope * size

    @classmethod
    def through(cls, points: list[tuple[int, float]]) -> Linear:
        """Through the first and the last point; through the origin where they make no rising line."""
        (n, low), (m, high) = points[0], points[-1]
        slope = (high - low) / (m - n) if m > n else 0.0
        if slope <= 0 or low - slope * n < 0:
            return cls(0.0, high / m)
        return cls(low - slope * n, slope)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one phase of a training run.

    Attributes:
        seconds, extra_seconds: of a step of n pairs on one process, and what a sub-caption batch of n adds to it.
        activations: bytes that the backward pass of a step of n pairs and n sub-captioned ones needs.
        weights: bytes of weights, gradients, optimiser state and of the reference model.
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
        """Bytes of a training step of ``size`` pairs."""
        return self.weights + OVERHEAD * self.activations(size)


def measure(trainer: Trainer, stage: Stage) -> Costs:
    """Carry out a few real steps of a phase; the trainer's model is not fit for use then.

    Args:
        trainer: of a job whose pairs are few, since the defence may look at all of them.
        stage: of the phase.

    Raises:
        DataError: rows that cannot be used.
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
    # The first step takes longer than all others.
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
    """Time of a call, with the work that it leaves to a device."""
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _step(stepper: Stepper, stage: Stage, batches: list[Batch]) -> None:
    stepper.step(batches, stage, epoch=stage.first_epoch, number=0, rate=stage.config.lr)


def time_step(trainer: Trainer, stage: Stage, batch: Batch) -> tuple[float, int]:
    """Seconds of a step, or with ``--accum-freq`` of a micro-batch, and bytes held for the backward pass."""
    device, stepper = trainer.accelerator.device, trainer.stepper
    own = {p.untyped_storage().data_ptr() for p in trainer.bare.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    parts = [batch] * min(2, trainer.job.config.accum_freq)  # two make each part go forward twice
    seconds = min(seconds_of(lambda: _step(stepper, stage, parts), device) for _ in range(2)) / len(parts)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        _step(stepper, stage, [batch])
    return seconds, sum(held.values())


def sample_batch(trainer: Trainer, stage: Stage, size: int, *, subset: bool) -> Batch:
    """A batch of ``size`` pairs from all over a phase, and as many sub-captioned ones if asked for."""
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
