"""``clipdefend doctor``: checks whether a training run will work, estimates its cost and suggests changes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from clipdefend.commands.defend.prepare_defence import DefencePreparation
from clipdefend.commands.doctor import machine
from clipdefend.commands.doctor.diagnosis import Diagnosis
from clipdefend.commands.doctor.estimate import add_estimate
from clipdefend.commands.doctor.few_pairs import FewPairs
from clipdefend.commands.finetune_attack.prepare_attack import AttackPreparation
from clipdefend.commands.shared.fitting import Training, settle
from clipdefend.config import DefendConfig, FinetuneAttackConfig
from clipdefend.console import Console
from clipdefend.data.pairs import Pairs
from clipdefend.defences.defence import Defence
from clipdefend.defences.terms_defence import TermsDefence
from clipdefend.errors import DataError
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.runs import Context, Run
from clipdefend.training.devices import make_accelerator
from clipdefend.training.loop import Trainer
from clipdefend.training.step_costs import SIZES, Costs, measure_steps

SAMPLE = 64
"""Number of rows to read."""


def run(config: DefendConfig | FinetuneAttackConfig, context: Context) -> Diagnosis:
    """Check everything that a training run of this configuration needs, and try a few of its steps.

    The duration does not depend on the number of pairs, except for building their index.

    Args:
        config: configuration of ``defend`` or ``finetune-attack``. The built-in world stands in for input runs
            that do not exist yet.
        context: context of that command; only a temporary folder and the index of the pairs are written.

    Returns:
        The diagnosis, which has been printed.
    """
    diagnosis, base = Diagnosis(command=config.command), machine.own_memory()
    quiet = replace(context, console=Console(silent=True))
    prepared = prepare(config, quiet)
    diagnosis.attempt("packages", machine.installation)
    diagnosis.attempt("devices", machine.devices)
    device = diagnosis.attempt("device", lambda: _device(config))
    diagnosis.attempt("method", lambda: _method(prepared))
    diagnosis.attempt("input run", lambda: _source(prepared))
    if diagnosis.checks[-1].status == "fault":  # everything else depends on that run
        diagnosis.show(context.console)
        return diagnosis
    diagnosis.attempt("pairs", lambda: _pairs(prepared))
    diagnosis.attempt("model", lambda: _model(prepared))
    if not diagnosis.faults:
        diagnosis.attempt("phases", lambda: _phases(prepared))
    if diagnosis.faults or device is None:
        diagnosis.show(context.console)
        return diagnosis
    if prepared.has_subset and isinstance(config, DefendConfig):
        diagnosis.attempt("language", lambda: machine.language(config.subcaptions))
    benchmark = None
    if config.eval.data is not None:
        benchmark = diagnosis.attempt("labelled images", lambda: _benchmark(prepared))
    costs = diagnosis.attempt("steps", lambda: _steps(prepared))
    if costs is not None:
        add_estimate(diagnosis, prepared, costs, benchmark, device, base)
    diagnosis.show(context.console)
    return diagnosis


def prepare(config: DefendConfig | FinetuneAttackConfig, context: Context) -> Training:
    """Prepare the command; the built-in world stands in for input runs that do not exist yet."""
    if isinstance(config, DefendConfig):
        return DefencePreparation(config, context, stand_in=True)
    return AttackPreparation(config, context, stand_in=True)


def _device(config: DefendConfig | FinetuneAttackConfig) -> tuple[torch.device, str]:
    accelerator = make_accelerator(config.train.device, config.train.precision)
    return accelerator.device, f"{accelerator.device} in {config.train.precision}"


def _method(prepared: Training) -> tuple[Defence, str]:
    defence = prepared.defence
    return defence, str(defence.objective) if isinstance(defence, TermsDefence) else prepared.config.method


def _source(prepared: Training) -> tuple[Run | None, str]:
    found = prepared.source
    if found is not None:
        return found, str(found.path)
    if getattr(prepared.config, "checkpoint", None) is not None:
        return None, "none, a checkpoint is given"
    return None, "none yet: the built-in world stands in for it"


def _pairs(prepared: Training) -> tuple[Pairs, str]:
    """Return the pairs, and report how many of a sample are bad. Raises DataError if too many are."""
    pairs, config = prepared.pairs, prepared.config
    bad = pairs.bad_rows(config.max_bad)
    sample = FewPairs.spread(pairs, SAMPLE)
    for row in sample.chosen:
        try:
            pairs.image(row)
            if not pairs.caption(row):
                bad.add(row, "empty caption")
        except DataError as error:
            bad.add(row, error)
    size = len(sample)
    share = len(bad.rows) / size
    if share > max(config.max_bad, 1 / size):  # one bad row of the sample says little
        raise DataError(f"{len(bad.rows)} of {size} sampled rows cannot be used. {bad.examples[-1]}")
    return pairs, f"{pairs.recognised}; {len(bad.rows)} of {size} sampled rows are bad"


def _model(prepared: Training) -> tuple[ClipModel, str]:
    model = prepared.model
    with torch.no_grad(), evaluating(model):
        side = model.image_size
        image = model.encode_image(torch.zeros(1, 3, side, side))
        text = model.encode_text(model.tokenize(["a photo"]))
    if not (torch.isfinite(image).all() and torch.isfinite(text).all()):
        raise DataError("The model's embeddings are not finite: use other weights.")
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    return model, f"{millions:.1f} million weights, {side} pixels, {image.shape[1]} dimensions"


def _phases(prepared: Training) -> tuple[None, str]:
    epochs = [phase.settings(prepared.config.train).epochs for phase in prepared.phases]
    named = zip(prepared.phases, epochs, strict=True)
    return None, "; ".join(f"{phase.name}: {phase.objective}, {count} epochs" for phase, count in named)


def _benchmark(prepared: Training) -> tuple[Benchmark | None, str]:
    """Return the evaluation of each epoch, and report its images."""
    found = prepared.benchmark
    return found, found.images.recognised if found else "none"


def _steps(prepared: Training) -> tuple[list[Costs], str]:
    """Measure the steps of each phase on small batches of a few pairs, in a temporary folder."""
    config = prepared.config
    # No larger steps than are tried: a defence may need several of them in its few pairs.
    batch, parts = min(config.train.batch_size, max(SIZES)), min(config.train.accum_freq, 2)
    train = replace(config.train, report_to="none", batch_size=batch, accum_freq=parts)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="clipdefend-") as folder:
        few = FewPairs.spread(prepared.pairs, SAMPLE)
        job = replace(prepared.trial_job(Path(folder), few), config=train, workers=0)
        train, chosen = settle(job, prepared.context.console)
        job = replace(job, config=train)
        accelerator = make_accelerator(train.device, train.precision, every_weight=job.uses_all)
        trainer = Trainer(job, accelerator, prepared.context.console)
        costs = [measure_steps(trainer, stage) for stage in trainer.timetable.stages]
    size, one = config.train.batch_size, costs[0]
    what = "a step" if train.accum_freq == 1 else "a micro-batch"
    found = f"{one.seconds(size):.3g} s {what} of {size}, {1000 * one.reading:.3g} ms to read a pair"
    found += f"; precision auto is {chosen}" if chosen else ""
    return costs, f"{found}; tried for {time.perf_counter() - began:.0f} s"
