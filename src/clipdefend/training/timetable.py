"""Which phase each epoch belongs to, how many steps there are, and the learning rate of each."""

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
    """A phase in its place in the run.

    Attributes:
        phase: of the defence.
        config: the training options of the phase, its warm-up shortened where it would fill the phase.
        plan: its steps, as the phase announces them.
        first_epoch, first_step: epochs and steps of the phases before it.
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
        """The plan of an epoch on rows that the defence chose for it. Raises DataError for too few."""
        if rows is self.phase.rows:
            return self.plan
        count = self.plan.rows if rows is None else len(rows)
        return replace(self.plan, rows=count, only=rows)

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Learning rate of a step.

        Args:
            epoch: counted from 0 over the whole run.
            step: of the epoch, from 0.
            steps: that the epoch has. Where the phase announced another number, the schedule moves by the share of
                the epoch that is done.
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
            seed: of the order of rows.
            subset: rows with sub-captions of an epoch; phases without such terms ignore them.
            schedule: where the sub-caption batches go.
            rank, world: this process among all.

        Raises:
            DataError: a phase with too few rows for a step.
            ConfigError: a global batch of one pair, or a phase's training options that are out of range.
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
        """The stage of an epoch, counted from 0 over the whole run."""
        return next(stage for stage in reversed(self.stages) if stage.first_epoch <= epoch)
