"""What ``finetune-attack`` and ``defend`` share: the same training with another objective and other pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clipdefend.commands.shared.preparation import Preparation
from clipdefend.config import DefendConfig, FinetuneAttackConfig, TrainConfig
from clipdefend.console import Console
from clipdefend.defences.terms_defence import TermsDefence
from clipdefend.distributed import launch
from clipdefend.evaluation.zero_shot import QUICK
from clipdefend.runs import CanvasRecord, TrainingDetails
from clipdefend.training.advice import advice, is_small, trains_batch_norm
from clipdefend.training.arithmetic import LAYOUTS, Arithmetic, measure_arithmetic, settle_arithmetic
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job
from clipdefend.training.loop import Trainer

Metrics = Mapping[str, float]
Training = Preparation[DefendConfig] | Preparation[FinetuneAttackConfig]


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
    details: TrainingDetails
    device: str


def fit(prepared: Training, folder: Path) -> Fitted:
    """Carry out a training run.

    Args:
        prepared: what it needs.
        folder: of the run.
    """
    job, console = prepared.job(folder), prepared.context.console
    train, arithmetic = settle(job, console)
    job = replace(job, config=train)
    accelerator = make_accelerator(train.device, train.precision, every_weight=job.uses_all)
    trainer = Trainer(job, accelerator, console)
    timetable = trainer.timetable
    console.info(_global_batch(trainer))
    facts = {
        "pretrained": prepared.pretrained,
        "small": is_small(job.model),
        "attack": prepared.attack_run,
        "batch_norm": trains_batch_norm(job.model, train),
    }
    lines = [
        line
        for stage in timetable.stages
        for line in advice(stage.phase.settings(train), total=stage.steps, **facts)
    ]
    for line in dict.fromkeys(lines):
        console.warn(line)
    progress = trainer.run()
    if train.stop_at is not None and progress.stopped is None:
        console.warn(f"No evaluation reached --stop-at {train.stop_at}: the run went through all its epochs.")
    canvas = job.canvas
    details = TrainingDetails(
        fingerprint=job.pairs.fingerprint,
        canvas=CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation),
        objective=str(job.objective),
        **describe(job),
        steps=progress.global_step,
        arithmetic=asdict(arithmetic) if arithmetic else None,
        processes=timetable.stages[0].plan.world,
        global_batch=timetable.stages[0].plan.batch,
        subcaption_steps=progress.extra_steps,
        training_seconds=round(progress.seconds, 3),
        best_epoch=progress.best_epoch if progress.best is not None else None,
        stopped_epoch=progress.stopped,
        bad=trainer.bad.summary(),
    )
    return Fitted(_full(progress.start), _full(progress.evaluated), details, str(accelerator.device))


def settle(job: Job, console: Console) -> tuple[TrainConfig, Arithmetic | None]:
    """Decide ``--precision auto`` in the main process, for all; see ``settle_arithmetic``."""
    if job.config.precision != "auto":
        return job.config, None
    device = make_accelerator(job.config.device).device

    def decide() -> dict[str, Any]:
        measure = partial(measure_arithmetic, job.model, job.config, device)
        return asdict(settle_arithmetic(job.folder, measure))

    chosen = Arithmetic(**launch.current().from_main(decide))
    console.info(f"Precision auto: {chosen}")
    job.model.set_layout(LAYOUTS[chosen.layout])
    return replace(job.config, precision=chosen.precision), chosen  # type: ignore[arg-type]


def describe(job: Job) -> dict[str, Any]:
    """What a manifest keeps of how the model was trained: terms, or a defence's parameters and phases."""
    if isinstance(job.defence, TermsDefence):
        return job.defence.to_dict()
    return {"defence": job.defence.to_dict(), "phases": [phase.to_dict() for phase in job.phases]}


def _full(metrics: Metrics) -> dict[str, float]:
    """Metrics of all images: those of the quick subset are for comparing epochs."""
    return {name: value for name, value in metrics.items() if not name.startswith(QUICK)}


def _global_batch(trainer: Trainer) -> str:
    """Such as "Global batch: 1,024 pairs = 128 x 4 micro-batches x 2 processes; 488 steps an epoch"."""
    train, stages = trainer.job.config, trainer.timetable.stages
    plan = stages[0].plan
    factors = [str(train.batch_size)]
    factors += [f"{train.accum_freq} micro-batches"] if train.accum_freq > 1 else []
    factors += [f"{plan.world} processes"] if plan.world > 1 else []
    made = f" = {' x '.join(factors)}" if len(factors) > 1 else ""
    steps = f"{plan.steps:,} steps an epoch"
    if len(stages) > 1:
        steps = ", then ".join(
            f"{stage.phase.name}: {stage.config.epochs} x {stage.plan.steps:,} steps" for stage in stages
        )
    return f"Global batch: {plan.batch:,} pairs{made}; {steps}"
