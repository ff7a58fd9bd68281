"""What ``finetune-attack`` and ``defend`` share: the same training with another objective and other pairs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipdefend.evaluation.zero_shot import QUICK
from clipdefend.runs import Context
from clipdefend.training.advice import advice, is_small
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job
from clipdefend.training.loop import Trainer

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes:
        before, after: metrics before the first step and after the last; empty without an evaluation.
        details: what the manifest keeps of the training.
        device: where it ran.
    """

    before: dict[str, float]
    after: dict[str, float]
    details: dict[str, Any]
    device: str


def fit(job: Job, context: Context, *, pretrained: bool = True, attack: bool = False) -> Fitted:
    """Carry out a training job and clean up behind it.

    Args:
        job: without its reference, which is a copy of the model as it begins.
        context: of the command.
        pretrained: whether the model begins with trained weights.
        attack: whether a backdoor is to be planted.
    """
    train = job.config
    accelerator = make_accelerator(train.device, train.precision, every_weight=job.uses_all)
    if job.objective.needs_reference:
        job.reference = copy.deepcopy(job.model).requires_grad_(False)
    trainer = Trainer(job, accelerator, context.console)
    context.console.info(_global_batch(trainer))
    for line in advice(
        train, total=trainer.total, pretrained=pretrained, small=is_small(job.model), attack=attack
    ):
        context.console.warn(line)
    progress = trainer.run()
    details = {
        "fingerprint": job.pairs.fingerprint,
        "canvas": {"size": job.canvas.size, "mode": job.canvas.mode},
        "objective": str(job.objective),
        "terms": job.objective.to_dict(),
        "steps": progress.global_step,
        "processes": trainer.plan.world,
        "global_batch": trainer.plan.batch,
        "subcaption_steps": progress.extra_steps,
        "training_seconds": round(progress.seconds, 3),
        "best_epoch": progress.best_epoch if progress.best is not None else None,
        "bad": trainer.bad.summary(),
    }
    return Fitted(_full(progress.start), _full(progress.evaluated), details, str(accelerator.device))


def _full(metrics: Metrics) -> dict[str, float]:
    """Metrics of all images: those of the quick subset are for comparing epochs."""
    return {name: value for name, value in metrics.items() if not name.startswith(QUICK)}


def _global_batch(trainer: Trainer) -> str:
    """Such as "Global batch: 1,024 pairs = 128 x 4 micro-batches x 2 processes; 488 steps an epoch"."""
    train, plan = trainer.job.config, trainer.plan
    factors = [str(train.batch_size)]
    factors += [f"{train.accum_freq} micro-batches"] if train.accum_freq > 1 else []
    factors += [f"{plan.world} processes"] if plan.world > 1 else []
    made = f" = {' x '.join(factors)}" if len(factors) > 1 else ""
    return f"Global batch: {plan.batch:,} pairs{made}; {plan.steps:,} steps an epoch"


def floor(metrics: Metrics) -> dict[str, float]:
    """Metrics of the clean model under the names that the runs after it carry."""
    return {f"floor_{name}": value for name, value in metrics.items() if not name.startswith("n_")}
