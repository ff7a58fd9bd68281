"""What ``finetune-attack`` and ``defend`` share: the same training with another objective and other pairs."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.data.pairs import Pairs
from clipdefend.evaluation import Benchmark
from clipdefend.model import ClipModel
from clipdefend.objectives.base import Objective
from clipdefend.runs import Context, RunDir
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


def fit(
    folder: RunDir,
    context: Context,
    *,
    title: str,
    model: ClipModel,
    objective: Objective,
    pairs: Pairs,
    canvas: Canvas,
    train: TrainConfig,
    benchmark: Benchmark | None,
    select: Callable[[Metrics], float],
    pretrained: bool = True,
    note: str | None = None,
    **job: Any,
) -> Fitted:
    """Train a model into a run folder.

    Args:
        folder: of the run.
        context: of the command.
        title: of the progress bar.
        model, objective, pairs, canvas, train: see ``Job``.
        benchmark: run before the first and after each epoch; None for none.
        select: value of an epoch's metrics whose largest is kept as ``best/``.
        pretrained: whether the model begins with trained weights.
        note: warning that goes with the weights; victims have one.
        job: further fields of ``Job``.
    """
    accelerator = make_accelerator(train.device, train.precision)
    reference = copy.deepcopy(model).requires_grad_(False) if objective.needs_reference else None
    trainer = Trainer(
        Job(
            title=title,
            model=model,
            reference=reference,
            objective=objective,
            pairs=pairs,
            canvas=canvas,
            config=train,
            folder=folder.path,
            evaluate=benchmark,
            select=select if benchmark is not None else None,
            note=note,
            **job,
        ),
        accelerator,
        context.console,
    )
    for line in advice(
        train, total=trainer.total, pretrained=pretrained, small=is_small(model), attack=note is not None
    ):
        context.console.warn(line)
    progress = trainer.run()
    if not train.keep_state:
        shutil.rmtree(folder.state, ignore_errors=True)
    details = {
        "fingerprint": pairs.fingerprint,
        "objective": str(objective),
        "terms": objective.to_dict(),
        "steps": progress.global_step,
        "subcaption_steps": progress.extra_steps,
        "training_seconds": round(progress.seconds, 3),
        "best_epoch": progress.best_epoch if progress.best is not None else None,
        "bad": trainer.bad.summary(),
    }
    return Fitted(progress.start, progress.evaluated, details, str(accelerator.device))


def floor(metrics: Metrics) -> dict[str, float]:
    """Metrics of the clean model under the names that the runs after it carry."""
    return {f"floor_{name}": value for name, value in metrics.items() if not name.startswith("n_")}
