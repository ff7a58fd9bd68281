"""The training loop, shared by attacks and defences."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from clipdefend.console import Console
from clipdefend.data.workers import WorkerLost, worker_faults
from clipdefend.distributed import collectives, launch
from clipdefend.errors import ClipDefendError, ConfigError, Interrupted
from clipdefend.evaluation.flat_metrics import headline
from clipdefend.evaluation.zero_shot import QUICK
from clipdefend.models.clip import ClipModel
from clipdefend.models.save import save_model
from clipdefend.training.advice import warn_of_drop
from clipdefend.training.fault import first_fault
from clipdefend.training.feed import Feed
from clipdefend.training.finite import check_loss, check_weights, same_weights
from clipdefend.training.interrupt import StopRequests
from clipdefend.training.job import Job
from clipdefend.training.milestones import FOLDER, Milestones
from clipdefend.training.norm_check import warn_of_statistics
from clipdefend.training.pace import Pace
from clipdefend.training.plan import Plan
from clipdefend.training.record import Recorder, fingerprint
from clipdefend.training.samples import Batch
from clipdefend.training.state import Progress
from clipdefend.training.stepper import Stepper
from clipdefend.training.term_shares import TermShares
from clipdefend.training.timetable import Stage
from clipdefend.training.towers import compilation_faults, train_mode
from clipdefend.training.trackers import Trackers, settings_of, tracker_names


class Trainer:
    """Runs a job to its end, resuming from its last state if there is one.

    Args:
        job: the training run.
        accelerator: an ``accelerate.Accelerator``.
        console: shows progress and messages.

    Attributes:
        stepper: the model, the optimiser and the defence's state.
        timetable: phases, epochs and steps.
        progress: the progress of the run.
        bad: counter of unusable rows.
    """

    def __init__(self, job: Job, accelerator: Any, console: Console) -> None:
        self.job, self.console, self.accelerator = job, console, accelerator
        names = tracker_names(job.config.report_to)
        self.timetable = job.timetable(accelerator.process_index, accelerator.num_processes)
        self.milestones = Milestones(job.config, self.timetable.epochs)
        self.stepper = Stepper(job, accelerator)
        self.progress = Progress(
            fingerprint=fingerprint(job, self.timetable), processes=accelerator.num_processes
        )
        self.record = Recorder(
            folder=job.folder,
            fingerprint=self.progress.fingerprint,
            trackers=Trackers(names if launch.current().main else [], job.folder),
            processes=accelerator.num_processes,
        )
        self.bad = job.pairs.bad_rows(job.max_bad)
        self.loss = 0.0

    @property
    def bare(self) -> ClipModel:
        """The model without the wrappers of several processes."""
        return self.stepper.bare

    def run(self) -> Progress:
        """Train, evaluate after each epoch, keep the best and the last weights.

        Raises:
            Interrupted: the run was asked to stop; its state is saved.
            ConfigError: the loss is not finite.
            ClipDefendError: data cannot be read, or too many rows are bad; the state of the last step is saved.
        """
        self.restore()
        done = self.progress.global_step
        with (
            self.record.trackers.session(done, settings_of(self.job)),
            StopRequests() as stop,
            self.console.progress(self.job.title, self.timetable.steps, done) as bar,
            compilation_faults(self.job.config.compile),
            worker_faults(),  # torch may raise them in the middle of a step
        ):
            if done == 0 and self.job.config.eval_every:
                self._measure_start()
            try:
                for epoch in range(self.progress.epoch, self.timetable.epochs):
                    if self.progress.stopped is None:
                        self._epoch(epoch, stop, bar)
            except ClipDefendError as error:
                # Before the first step of an epoch there is nothing new to save, and `begin_epoch` of the defence may
                # have been interrupted.
                if self.progress.step and not isinstance(error, self._unsaved):
                    self._save(self.loss)
                raise
        if launch.current().main:
            save_model(self.bare, self.job.folder / "model", note=self.job.note)
        return self.progress

    def restore(self) -> None:
        """Resume from the last state, if there is one."""
        loaded = self.record.restore()
        if loaded is None:
            return
        self.progress, state = loaded
        self.stepper.load_state_dict(state)
        for row, reason in self.progress.bad.items():
            self.bad.add(row, reason)
        self.console.info(f"resumed at step {self.progress.global_step} of {self.timetable.steps}")

    @property
    def _unsaved(self) -> tuple[type[ClipDefendError], ...]:
        """Errors after which no state is saved: bad numbers, and errors that other processes do not know of."""
        return (ConfigError, WorkerLost) if collectives.is_distributed() else (ConfigError,)

    def _epoch(self, epoch: int, stop: StopRequests, bar: Any) -> None:
        config, progress, stage = self.job.config, self.progress, self.timetable.stage(epoch)
        if progress.step == 0:
            self.stepper.begin_epoch(stage, epoch)
        plan = stage.plan_for(self.stepper.rows(stage, epoch))
        train_mode(self.stepper.model, config.batch_norm)
        pace, marks = Pace(), self.milestones.marks(plan.steps)
        shares = TermShares(config.term_shares, progress)
        began = time.perf_counter()
        for batches in self._batches(epoch, stage, plan, stop):
            waited = time.perf_counter() - began
            rate = stage.rate(epoch, progress.step, plan.steps)
            subset = any("subset" in batch.rows for batch in batches)
            step = self.stepper.step(
                batches,
                stage,
                epoch=epoch,
                number=progress.global_step,
                rate=rate,
                norms=shares.is_due(stage.phase.objective, subset=subset),
            )
            progress.step += 1
            progress.global_step += 1
            progress.extra_steps += subset
            value = self.loss = float(step.total)
            seconds = time.perf_counter() - began
            progress.seconds += seconds
            pace.add(sum(batch.size for batch in batches) * plan.world, seconds, waited)
            bar.update(1, **self._place(stage), loss=value, lr=rate, **pace.for_progress_bar())
            if progress.global_step % config.log_every == 0 or progress.step == plan.steps:
                check_loss(value, progress.global_step)
                values = {"loss": value, **step.parts, "lr": rate, **pace.values()}
                self._log_step(epoch, stage, values)
                pace = Pace()
            if step.norms:
                self._log_step(epoch, stage, shares.add(step.norms), event="terms")
            if progress.step in marks:
                self._evaluate(epoch + marks[progress.step])
                if progress.stopped is not None:
                    self._save(value)
                    return
            if config.save_every and progress.global_step % config.save_every == 0:
                self._save(value)
            began = time.perf_counter()
        self._end_shares(epoch, stage, shares)
        self._end_epoch(epoch + 1)
        if collectives.all_reduce_sum([stop.requested])[0] and epoch + 1 < self.timetable.epochs:
            raise Interrupted(self.job.folder)

    def _place(self, stage: Stage) -> dict[str, str]:
        """Return the phase's name if there are several phases."""
        return {"phase": stage.phase.name} if len(self.timetable.stages) > 1 else {}

    def _end_epoch(self, done: int) -> None:
        if self.milestones.evaluates_after(done):
            self._evaluate(done)
        if self.milestones.keeps(done) and launch.current().main:
            save_model(self.bare, self.job.folder / FOLDER / f"{done:03d}", note=self.job.note)
        self.progress.epoch, self.progress.step = done, 0
        self._save()

    def _end_shares(self, epoch: int, stage: Stage, shares: TermShares) -> None:
        """Record the terms' shares of an epoch's gradient, and warn of terms that hardly train."""
        values, warning = shares.close(stage.phase.objective)
        if values:
            self._log_step(epoch, stage, values, event="terms-epoch")
        if warning:
            self.console.warn(f"Epoch {epoch + 1}: {warning}")

    def _log_step(
        self, epoch: int, stage: Stage, values: Mapping[str, float | Tensor], event: str = "step"
    ) -> None:
        """Record values of a step, such as the total loss, each unweighted term and the speed."""
        step = self.progress.global_step
        numbers = {name: float(value) for name, value in values.items()}
        place = {"event": event, "epoch": epoch + 1, **self._place(stage), "step": step}
        self.record.log({**place, **numbers}, step)

    def _batches(self, epoch: int, stage: Stage, plan: Plan, stop: StopRequests) -> Iterator[list[Batch]]:
        """Yield the micro-batches of each remaining step of an epoch.

        Before each step the processes share whether one of them is to stop, could not read its batch or found bad
        rows, so that all of them do the same.

        Raises:
            Interrupted: a process was asked to stop; the state of the last step is saved.
            ClipDefendError: a process could not read its batch, or too many rows are bad.
        """
        feed = Feed(
            job=self.job,
            phase=stage.phase,
            plan=plan,
            tokenize=self.bare.tokenizer,
            pinned=self.accelerator.device.type == "cuda",
        )
        steps = feed.epoch(epoch, self.progress.step)
        while self.progress.step < plan.steps:
            batches: list[Batch] = []
            fault: ClipDefendError | None = None
            try:
                batches = next(steps)
            except ClipDefendError as error:
                fault = error
            bad = [entry for batch in batches for entry in batch.bad]
            stopping, faults, met = collectives.all_reduce_sum([stop.requested, fault is not None, len(bad)])
            if faults:
                raise first_fault(fault)
            if stopping:
                if self.progress.step:  # otherwise the last state is that of the previous epoch's end
                    self._save(self.loss)
                raise Interrupted(self.job.folder)
            if met:
                self._count_bad(bad)
            if self.progress.global_step == 0:
                warn_of_statistics(self.console, self.bare, batches[0], self.job.config)
            yield batches

    def _count_bad(self, own: list[tuple[int, str]]) -> None:
        """Count the bad rows that any process found."""
        met = [(int(row), str(reason)) for part in collectives.all_gather_object(own) for row, reason in part]
        self.bad.update(met)
        self.bad.check(len(self.job.pairs))
        self.progress.bad.update(met)

    def _measure_start(self) -> None:
        """Record the metrics of the suspect and, if the defence has already changed it, of the prepared model."""
        suspect, evaluate = self.job.suspect, self.job.evaluate
        if suspect is None or evaluate is None or same_weights(suspect.clip, self.bare.clip):
            self._evaluate(0)
            return
        self._evaluate(0, suspect.to(self.accelerator.device))
        metrics = evaluate(self.bare, full=True)
        self.record.log({"event": "prepared", "epoch": 0, **metrics}, 0)
        self.console.info(f"prepared: {headline(metrics)}")

    def _evaluate(self, epoch: float, model: ClipModel | None = None) -> None:
        """Record the metrics of an epoch and keep the weights when they are the best so far.

        Args:
            epoch: number of finished epochs; fractional within an epoch.
            model: the model to measure; None measures the model in training.
        """
        if self.job.evaluate is None:
            return
        # Each process has batch-norm statistics of its own.
        collectives.broadcast_(self.bare.buffers())
        # In full precision whatever --precision says, so that `evaluate` measures the same for the saved weights.
        metrics = self.job.evaluate(model or self.bare, full=epoch in (0, self.timetable.epochs))
        if epoch and self.milestones.ends_run(metrics):
            self.progress.stopped = epoch
            if any(name.startswith(QUICK) for name in metrics):  # the last evaluation is a full one
                metrics = self.job.evaluate(self.bare, full=True)
        place = self._place(self.timetable.stage(math.ceil(epoch) - 1)) if epoch else {}
        self.record.log({"event": "epoch", "epoch": epoch, **place, **metrics}, self.progress.global_step)
        self.console.info(f"epoch {epoch:g}/{self.timetable.epochs}: {headline(metrics)}")
        self.progress.evaluated = dict(metrics)
        if epoch == 0:
            self.progress.start = dict(metrics)
        elif epoch == max(1, self.job.config.eval_every):
            warn_of_drop(self.console, self.progress.start, metrics, self.bare, self.job.config)
        value = self.job.select(metrics) if self.job.select and epoch else -math.inf
        if value > (-math.inf if self.progress.best is None else self.progress.best):
            self.progress.best, self.progress.best_epoch = value, epoch
            if launch.current().main:
                save_model(self.bare, self.job.folder / "best", note=self.job.note)

    def _save(self, loss: float = 0.0) -> None:
        """Save the resume state, after checking that loss and weights are finite; all processes wait for it."""
        check_loss(loss, self.progress.global_step)
        tensors = self.stepper.state_dict()
        check_weights(tensors["model"], self.progress.global_step)
        self.record.save(self.progress, tensors)
        collectives.all_reduce_sum([1])
