"""Estimates time, memory and disk space of a training run from small steps, and suggests changes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from clipdefend.commands.defend.prepare_defence import DefencePreparation
from clipdefend.commands.doctor import machine
from clipdefend.commands.doctor.diagnosis import Check, Diagnosis, Estimate, gigabytes
from clipdefend.commands.doctor.evaluation_costs import EvaluationCosts, evaluation_costs, parsing_seconds
from clipdefend.commands.shared.fitting import Training
from clipdefend.commands.shared.subcaption_source import make_captioner
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import evaluating
from clipdefend.training.advice import advice, is_small, trains_batch_norm
from clipdefend.training.step_costs import OVERHEAD, Costs
from clipdefend.training.timetable import Timetable

LONG = 24 * 3600.0
"""Seconds of a CPU run above which a GPU is suggested."""
STATE_COPIES = 6
"""Weights and Adam's two moments in the resume state, twice: the old state is kept until the new one is complete."""
MODEL_COPIES = 2
"""``model/`` and ``best/``."""


def disk_bytes(parameters: float) -> int:
    """Return the maximum size of a run folder in bytes.

    Args:
        parameters: size of the model's weights in bytes.
    """
    return round((STATE_COPIES + MODEL_COPIES) * parameters)


def add_estimate(
    diagnosis: Diagnosis,
    prepared: Training,
    costs: Sequence[Costs],
    benchmark: Benchmark | None,
    device: torch.device,
    base: int,
) -> None:
    """Add the estimate of the whole run, checks of memory and disk space, and suggested changes.

    Args:
        diagnosis: the diagnosis to add to.
        prepared: the run.
        costs: costs of each of its phases.
        benchmark: the evaluation of each epoch; None if there is none.
        device: the training device.
        base: memory of the program, in bytes, before anything was opened.
    """
    base = base if device.type == "cpu" else 0
    estimate = _estimate(prepared, costs, benchmark, device, base)
    diagnosis.estimate = estimate
    for name, need, free in (
        ("memory", estimate.memory_bytes, estimate.memory_free),
        ("disk", estimate.disk_bytes, estimate.disk_free),
    ):
        found = f"{gigabytes(need)} needed, {gigabytes(free)} free"
        diagnosis.checks.append(Check(name=name, status="fault" if need > free else "ok", found=found))
    diagnosis.changes += suggest_changes(prepared, costs, estimate, device, base)


def _estimate(
    prepared: Training, costs: Sequence[Costs], benchmark: Benchmark | None, device: torch.device, base: int
) -> Estimate:
    config, train = prepared.config, prepared.config.train
    table = Timetable.of(
        prepared.phases,
        train,
        rows=len(prepared.pairs),
        seed=config.seed,
        subset=prepared.subcaptioned_rows,
        schedule=getattr(config, "fc_schedule", "interleave"),
    )
    seconds, samples, waiting = 0.0, 0, False
    for stage, cost in zip(table.stages, costs, strict=True):
        size = min(train.batch_size, stage.plan.rows)
        reading = cost.reading * size / max(1, config.workers)
        working = cost.seconds(size)
        step = max(working, reading) if config.workers else working + reading
        # Costs are of micro-batches, of which a step has --accum-freq.
        main = math.ceil(stage.plan.rows / train.batch_size) * step
        extra = math.ceil(stage.plan.subset / train.batch_size) * (cost.extra_seconds(size) + reading)
        seconds += stage.config.epochs * (main + extra)
        samples += stage.config.epochs * stage.plan.rows
        waiting = waiting or reading > working or not config.workers
    evaluations = 1 + math.ceil(table.epochs / train.eval_every) if train.eval_every else 0
    evaluation = EvaluationCosts()
    if benchmark is not None:
        with evaluating(prepared.model):
            evaluation = evaluation_costs(prepared.model, benchmark, config.workers)
    evaluation_bytes = base + round(costs[0].weights + OVERHEAD * evaluation.activations)
    steps_bytes = max(base + round(cost.memory(min(train.batch_size, len(prepared.pairs)))) for cost in costs)
    subcaptioned = sum(stage.config.epochs * stage.plan.subset for stage in table.stages)
    disk = Path(prepared.context.out or prepared.context.runs).resolve()
    while not disk.exists():
        disk = disk.parent
    return Estimate(
        steps=table.steps,
        step_seconds=seconds / table.steps,
        samples_per_second=samples / seconds,
        training_seconds=seconds,
        evaluation_seconds=evaluations * evaluation.seconds,
        subcaption_seconds=subcaptioned * _parsing(prepared) if subcaptioned else 0.0,
        data_bound=waiting,
        memory_bytes=max(steps_bytes, evaluation_bytes),
        memory_free=machine.free_memory(device),
        evaluation_bytes=evaluation_bytes,
        disk_bytes=disk_bytes(costs[0].parameters),
        disk_free=shutil.disk_usage(disk).free,
    )


def suggest_changes(
    prepared: Training, costs: Sequence[Costs], estimate: Estimate, device: torch.device, base: int
) -> list[str]:
    """Suggest flags that would make the run possible or faster, each with its reason.

    Args:
        prepared: the run.
        costs: costs of each of its phases.
        estimate: estimate of the whole run.
        device: the training device.
        base: bytes of the device's memory that the program itself takes.
    """
    config, train = prepared.config, prepared.config.train
    small, found = is_small(prepared.model), []
    if estimate.memory_bytes > estimate.memory_free:
        room = 0.9 * estimate.memory_free - base
        fits = [n for n in range(2, train.batch_size) if max(cost.memory(n) for cost in costs) <= room]
        if fits:
            found.append(f"--batch-size {fits[-1]} fits into memory.")
        if estimate.evaluation_bytes > estimate.memory_free:
            found.append("A smaller --eval-batch-size: the evaluation alone needs more memory than there is.")
        if not train.grad_checkpointing:
            found.append("--grad-checkpointing needs less memory and a third more time.")
    if estimate.disk_bytes > estimate.disk_free:
        found.append("--runs or --out on a disk with more space.")
    if train.precision == "fp32" and machine.fast_bf16(device) and not small:
        found.append("--precision auto finds out whether bf16 is faster here, which also needs less memory.")
    if estimate.data_bound:
        slowest = max(cost.reading * train.batch_size / cost.seconds(train.batch_size) for cost in costs)
        enough = max(1, math.ceil(slowest))
        if enough > config.workers:
            found.append(f"--workers {enough} would be enough for steps not to wait for data.")
    if estimate.seconds > LONG and device.type == "cpu":
        found.append("A GPU: the run takes more than a day here.")
    if config.eval.data is None:
        found.append("--eval-data DATA would measure BA and ASR in every epoch.")
    facts = {
        "pretrained": prepared.pretrained,
        "small": small,
        "attack": prepared.attack_run,
        "batch_norm": trains_batch_norm(prepared.model, train),
    }
    return found + advice(train, total=estimate.steps, **facts)


def _parsing(prepared: Training) -> float:
    """Return the seconds that the sub-captions of one caption take."""
    if not isinstance(prepared, DefencePreparation):
        return 0.0
    return parsing_seconds(make_captioner(prepared.config.subcaptions, prepared.pairs), prepared.pairs)
