"""What ``finetune-attack`` and ``defend`` share: the same training with another objective and other pairs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipdefend.errors import ConfigError
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


def fit(job: Job, context: Context, *, pretrained: bool = True) -> Fitted:
    """Carry out a training job and clean up behind it.

    Args:
        job: without its reference, which is a copy of the model as it begins.
        context: of the command.
        pretrained: whether the model begins with trained weights.
    """
    train = job.config
    if train.accum_freq != 1:
        raise ConfigError("--accum-freq is not available in this version: leave it out.")
    accelerator = make_accelerator(train.device, train.precision)
    if job.objective.needs_reference:
        job.reference = copy.deepcopy(job.model).requires_grad_(False)
    trainer = Trainer(job, accelerator, context.console)
    attack = job.note is not None
    for line in advice(
        train, total=trainer.total, pretrained=pretrained, small=is_small(job.model), attack=attack
    ):
        context.console.warn(line)
    progress = trainer.run()
    details = {
        "fingerprint": job.pairs.fingerprint,
        "objective": str(job.objective),
        "terms": job.objective.to_dict(),
        "steps": progress.global_step,
        "subcaption_steps": progress.extra_steps,
        "training_seconds": round(progress.seconds, 3),
        "best_epoch": progress.best_epoch if progress.best is not None else None,
        "bad": trainer.bad.summary(),
    }
    return Fitted(_full(progress.start), _full(progress.evaluated), details, str(accelerator.device))


def _full(metrics: Metrics) -> dict[str, float]:
    """Metrics of all images: those of the quick subset are for comparing epochs."""
    return {name: value for name, value in metrics.items() if not name.startswith(QUICK)}


def floor(metrics: Metrics) -> dict[str, float]:
    """Metrics of the clean model under the names that the runs after it carry."""
    return {f"floor_{name}": value for name, value in metrics.items() if not name.startswith("n_")}
