"""``clipdefend doctor``: whether a training will work, how long it takes, what it needs and what to change."""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clipdefend.commands.defend import run_defend
from clipdefend.commands.doctor import machine
from clipdefend.commands.doctor.diagnosis import Check, Diagnosis, Estimate, gigabytes
from clipdefend.commands.doctor.evaluation_costs import EvaluationCosts, evaluation_costs, parsing_seconds
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.subcaption_source import make_captioner
from clipdefend.config import ColumnsConfig, DefendConfig, FinetuneAttackConfig
from clipdefend.console import Console
from clipdefend.data.pairs import Pairs
from clipdefend.errors import DataError, RunError
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.models.load import load_model
from clipdefend.objectives.objective import Objective, build_objective
from clipdefend.runs import Context, Run
from clipdefend.training.advice import advice, is_small
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job
from clipdefend.training.loop import Trainer
from clipdefend.training.plan import Plan
from clipdefend.training.step_costs import OVERHEAD, Costs, measure

SAMPLE = 64  # rows that are read
LONG = 24 * 3600.0

Training = DefendConfig | FinetuneAttackConfig


def run(config: Training, context: Context) -> Diagnosis:
    """Look at everything that a training of this configuration needs, and try a few of its steps.

    Args:
        config: of ``defend`` or ``finetune-attack``. What it leaves to runs that are not there yet is taken
            from the built-in world.
        context: of that command; nothing is written but a temporary folder and the index of the pairs.
    """
    diagnosis, base = Diagnosis(command=config.command), machine.own_memory()
    quiet = replace(context, console=Console(silent=True))
    diagnosis.attempt("packages", machine.installation)
    diagnosis.attempt("devices", machine.devices)
    device = diagnosis.attempt("device", lambda: _device(config))
    objective = diagnosis.attempt("method", lambda: _objective(config))
    if objective is not None and objective.has_subset and isinstance(config, DefendConfig):
        settings = config.subcaptions
        diagnosis.attempt("language", lambda: machine.language(settings))
    source = diagnosis.attempt("input run", lambda: _source(config, quiet))
    if diagnosis.checks[-1].status == "fault":  # what would come of that run cannot be looked at
        diagnosis.show(context.console)
        return diagnosis
    pairs = diagnosis.attempt("pairs", lambda: _pairs(config, source, quiet))
    model = diagnosis.attempt("model", lambda: _model(config, source, quiet))
    if device is None or objective is None or pairs is None or model is None:
        diagnosis.show(context.console)
        return diagnosis
    subject = Subject(config, quiet, device, objective, pairs, model, source, base)
    benchmark = None
    if config.eval.data is not None:
        benchmark = diagnosis.attempt("labelled images", subject.benchmark)
    costs = diagnosis.attempt("steps", subject.measure)
    if costs is not None:
        subject.estimate(diagnosis, costs, benchmark)
    diagnosis.show(context.console)
    return diagnosis


def _device(config: Training) -> tuple[torch.device, str]:
    accelerator = make_accelerator(config.train.device, config.train.precision)
    return accelerator.device, f"{accelerator.device} in {config.train.precision}"


def _objective(config: Training) -> tuple[Objective, str]:
    objective = build_objective(config.method, config.terms)
    return objective, str(objective)


def _source(config: Training, context: Context) -> tuple[Run | None, str]:
    if context.source is None and getattr(config, "checkpoint", None) is not None:
        return None, "none, a checkpoint is given"
    try:
        found = context.input(config)
    except RunError:
        if context.source is not None:
            raise
        return None, "none yet: the built-in world stands for what it would bring"
    return found, str(found.path)


def _pairs(config: Training, source: Run | None, context: Context) -> tuple[Pairs, str]:
    """The pairs, and how many of a sample of them are bad. Raises DataError when far too many are."""
    poison = source.find_ancestor("poison") if source else None
    if source is not None and source.command == "poison":
        pairs: Pairs = inputs.poisoned_pairs(source, context)
    elif isinstance(config, DefendConfig) and (config.data is not None or poison is not None):
        pairs = run_defend.clean_pairs(config, poison, context)
    else:
        pairs = inputs.open_data("builtin", ColumnsConfig(), context)
    bad = pairs.bad_rows(config.max_bad)
    size = min(SAMPLE, len(pairs))
    for row in (number * len(pairs) // size for number in range(size)):
        try:
            pairs.image(row)
            if not pairs.caption(row):
                bad.add(row, "empty caption")
        except DataError as error:
            bad.add(row, error)
    share = len(bad.rows) / size
    if share > max(config.max_bad, 1 / size):  # one bad row of the sample says little
        raise DataError(f"{len(bad.rows)} of {size} rows looked at cannot be used. {bad.examples[-1]}")
    return pairs, f"{pairs.recognised}; {len(bad.rows)} of {size} looked at are bad"


def _model(config: Training, source: Run | None, context: Context) -> tuple[ClipModel, str]:
    if isinstance(config, DefendConfig):
        if config.checkpoint is not None or source is not None:
            model = run_defend.start_model(config, source, context)
        else:
            name = config.model.name or "tiny"
            weights = config.model.pretrained or ("builtin" if name == "tiny" else None)
            model = load_model(name, weights, seed=config.seed)
    else:
        model, _, _ = inputs.first_model(config.model, config.seed, context)
    with torch.no_grad(), evaluating(model):
        side = model.image_size
        image = model.encode_image(torch.zeros(1, 3, side, side))
        text = model.encode_text(model.tokenize(["a photo"]))
    if not (torch.isfinite(image).all() and torch.isfinite(text).all()):
        raise DataError("The model's embeddings are not finite: take other weights.")
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    return model, f"{millions:.1f} million weights, {side} pixels, {image.shape[1]} dimensions"


@dataclass
class Subject:
    """A training that could be begun; ``base``: bytes of the program before it."""

    config: Training
    context: Context
    device: torch.device
    objective: Objective
    pairs: Pairs
    model: ClipModel
    source: Run | None
    base: int = 0

    def benchmark(self) -> tuple[Benchmark | None, str]:
        """The evaluation of each epoch."""
        attack = self._attack()
        canvas = inputs.canvas_of(self.model, attack)
        found = inputs.make_benchmark(self.config.eval, self.config, canvas, self.context, attack)
        return found, found.images.recognised if found else "none"

    def measure(self) -> tuple[Costs, str]:
        """Costs of the steps, tried on small batches in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="clipdefend-") as folder:
            trainer = self._trainer(Path(folder))
            began = time.perf_counter()
            costs = measure(trainer)
        size = self.config.train.batch_size
        what = "a step" if self.config.train.accum_freq == 1 else "a micro-batch"
        found = f"{costs.seconds(size):.3g} s {what} of {size}, {1000 * costs.reading:.3g} ms to read a pair"
        return costs, f"{found}; tried for {time.perf_counter() - began:.0f} s"

    def estimate(self, diagnosis: Diagnosis, costs: Costs, benchmark: Benchmark | None) -> None:
        """Add time, memory and disk of the whole run, and what to change."""
        config, train = self.config, self.config.train
        size = min(train.batch_size, len(self.pairs))
        reading = costs.reading * size / max(1, config.workers)
        working = costs.seconds(size)
        step = max(working, reading) if config.workers else working + reading
        plan = self._plan()
        aug = plan.subset
        # Costs are of micro-batches, of which a step has --accum-freq.
        main = math.ceil(len(self.pairs) / train.batch_size) * step
        epoch = main + math.ceil(aug / train.batch_size) * (costs.extra_seconds(size) + reading)
        evaluations = 1 + math.ceil(train.epochs / train.eval_every) if train.eval_every else 0
        evaluation = EvaluationCosts()
        if benchmark is not None:
            with evaluating(self.model):
                evaluation = evaluation_costs(self.model, benchmark, config.workers)
        base = self.base if self.device.type == "cpu" else 0
        evaluation_bytes = base + round(costs.weights + OVERHEAD * evaluation.activations)
        disk = Path(self.context.out or self.context.runs).resolve()
        while not disk.exists():
            disk = disk.parent
        estimate = Estimate(
            steps=train.epochs * plan.steps,
            step_seconds=epoch / plan.steps,
            samples_per_second=len(self.pairs) / epoch,
            training_seconds=train.epochs * epoch,
            evaluation_seconds=evaluations * evaluation.seconds,
            subcaption_seconds=train.epochs * aug * self._parsing() if aug else 0.0,
            data_bound=reading > working or not config.workers,
            memory_bytes=max(base + round(costs.memory(size)), evaluation_bytes),
            memory_free=machine.free_memory(self.device),
            evaluation_bytes=evaluation_bytes,
            # Two states while one replaces the other, of weights and Adam's two moments; model/ and best/.
            disk_bytes=round(8 * costs.parameters),
            disk_free=shutil.disk_usage(disk).free,
        )
        diagnosis.estimate = estimate
        for name, need, free in (
            ("memory", estimate.memory_bytes, estimate.memory_free),
            ("disk", estimate.disk_bytes, estimate.disk_free),
        ):
            found = f"{gigabytes(need)} needed, {gigabytes(free)} free"
            diagnosis.checks.append(Check(name=name, status="fault" if need > free else "ok", found=found))
        diagnosis.changes += self._changes(costs, estimate)

    def _changes(self, costs: Costs, estimate: Estimate) -> list[str]:
        train, found = self.config.train, []
        if estimate.memory_bytes > estimate.memory_free:
            base = self.base if self.device.type == "cpu" else 0
            room = 0.9 * estimate.memory_free - base
            fits = [n for n in range(2, train.batch_size) if costs.memory(n) <= room]
            if fits:
                found.append(f"--batch-size {fits[-1]} is what fits into the memory.")
            if estimate.evaluation_bytes > estimate.memory_free:
                found.append("A smaller --eval-batch-size: the evaluation alone needs more than there is.")
            if not train.grad_checkpointing:
                found.append("--grad-checkpointing needs less memory and a third more time.")
        if estimate.disk_bytes > estimate.disk_free:
            found.append("--runs or --out on a disk with more room.")
        if train.precision == "fp32" and machine.fast_bf16(self.device) and not is_small(self.model):
            found.append("--precision bf16 is faster here and needs less memory.")
        if estimate.data_bound:
            enough = max(1, math.ceil(costs.reading * train.batch_size / costs.seconds(train.batch_size)))
            if enough > self.config.workers:
                found.append(f"--workers {enough} would let the steps not wait for data.")
        if estimate.seconds > LONG and self.device.type == "cpu":
            found.append("A GPU: the run takes more than a day here.")
        if self.config.eval.data is None:
            found.append("--eval-data DATA would measure BA and ASR in every epoch.")
        attack = isinstance(self.config, FinetuneAttackConfig)
        pretrained = not attack or not inputs.begins_at_random(self.config.model)
        small = is_small(self.model)
        total = estimate.steps
        return found + advice(train, total=total, pretrained=pretrained, small=small, attack=attack)

    def _plan(self) -> Plan:
        """The steps of an epoch in one process, as the training has them."""
        config, train = self.config, self.config.train
        batch = train.batch_size * train.accum_freq
        if not isinstance(config, DefendConfig) or not self.objective.has_subset:
            return Plan(rows=len(self.pairs), batch=batch, seed=config.seed)
        return Plan(
            rows=len(self.pairs),
            batch=batch,
            seed=config.seed,
            subset=min(config.n_aug, len(self.pairs)),
            schedule=config.fc_schedule,
        )

    def _trainer(self, folder: Path) -> Trainer:
        train = replace(self.config.train, report_to="none")
        job = Job(
            folder=folder,
            title="Doctor",
            model=self.model,
            reference=copy.deepcopy(self.model).requires_grad_(False)
            if self.objective.needs_reference
            else None,
            objective=self.objective,
            pairs=self.pairs,
            canvas=inputs.canvas_of(self.model, self._attack()),
            config=train,
            seed=self.config.seed,
        )
        accelerator = make_accelerator(train.device, train.precision)
        return Trainer(job, accelerator, self.context.console)

    def _attack(self) -> inputs.AttackRecord | None:
        if self.source is None:
            return None
        poison = self.source if self.source.command == "poison" else self.source.find_ancestor("poison")
        return inputs.AttackRecord.of(poison) if poison else None

    def _parsing(self) -> float:
        """Seconds of one caption's sub-captions."""
        if not isinstance(self.config, DefendConfig):
            return 0.0
        return parsing_seconds(make_captioner(self.config.subcaptions, self.pairs), self.pairs)
