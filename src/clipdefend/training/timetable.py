"""Lays out the phases of a run: epochs, steps and learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipdefend.choices import SubcaptionSchedule
from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Phase, Rows
from clipdefend.training.plan import Plan
from clipdefend.training.schedule import fit_warmup, learning_rate


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A phase at its place in the run.

    Attributes:
        phase: the phase.
        config: its training options, with the warm-up shortened if it would fill the phase.
        plan: its steps, as the phase announces them.
        first_epoch, first_step: number of epochs and steps before the phase.
    """

    phase: Phase
    config: TrainConfig
    plan: Plan
    first_epoch: int
    first_step: int

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole phase."""
        return self.config.epochs * self.plan.steps

    def plan_for(self, rows: Rows | None) -> Plan:
        """Return the plan of an epoch on the rows that the defence chose. Raises DataError if they are too few."""
        if rows is self.phase.rows:
            return self.plan
        count = self.plan.rows if rows is None else len(rows)
        return replace(self.plan, rows=count, only=rows)

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Return the learning rate of a step.

        Args:
            epoch: counted from 0 over the whole run.
            step: step of the epoch, counted from 0.
            steps: number of steps of the epoch. If the phase announced another number, the schedule follows the
                finished share of the epoch.
        """
        config, planned = self.config, self.plan.steps
        within = step if steps == planned else step * planned / steps
        return learning_rate(
            (epoch - self.first_epoch) * planned + within,
            peak=config.lr,
            total=self.steps,
            warmup=config.warmup,
            kind=config.lr_scheduler,
            steps_per_epoch=planned,
        )


@dataclass(frozen=True)
class Timetable:
    """All stages of a run, in order."""

    stages: Sequence[Stage]

    @classmethod
    def of(
        cls,
        phases: Sequence[Phase],
        config: TrainConfig,
        *,
        rows: int,
        seed: int,
        subset: int = 0,
        schedule: SubcaptionSchedule = "interleave",
        rank: int = 0,
        world: int = 1,
    ) -> Timetable:
        """Lay out the phases of a defence.

        Args:
            phases: at least one.
            config: the training options as configured.
            rows: number of pairs.
            seed: seed of the order of rows.
            subset: number of sub-captioned rows of an epoch; phases without such terms ignore them.
            schedule: placement of the sub-caption batches in an epoch.
            rank, world: rank of this process and number of processes.

        Raises:
            DataError: a phase has too few rows for a step.
            ConfigError: a global batch is a single pair, or a phase's training options are out of range.
        """
        stages: list[Stage] = []
        epochs = steps = 0
        for phase in phases:
            own = phase.settings(config)
            plan = Plan(
                rows=rows if phase.rows is None else len(phase.rows),
                batch=own.batch_size * own.accum_freq * world,
                seed=seed,
                subset=subset if phase.objective.has_subset else 0,
                schedule=schedule,
                rank=rank,
                world=world,
                only=phase.rows,
            )
            warmup = fit_warmup(own.warmup, own.epochs * plan.steps, own.lr_scheduler)
            own = replace(own, warmup=warmup)
            stages.append(Stage(phase=phase, config=own, plan=plan, first_epoch=epochs, first_step=steps))
            epochs, steps = epochs + own.epochs, steps + stages[-1].steps
        return cls(stages)

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.stages[-1].first_epoch + self.stages[-1].config.epochs

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, as the phases announce them."""
        return self.stages[-1].first_step + self.stages[-1].steps

    def stage(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 0 over the whole run."""
        return next(stage for stage in reversed(self.stages) if stage.first_epoch <= epoch)
