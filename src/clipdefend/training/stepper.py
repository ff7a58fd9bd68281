"""Everything that an optimiser step changes: the model, the optimiser and the state of the defence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch

from clipdefend.defences.defence import Course, Rows, Step
from clipdefend.distributed import collectives
from clipdefend.draws import draw_seed
from clipdefend.models.clip import ClipModel
from clipdefend.training.embed import Embedder
from clipdefend.training.gradients import Gradients, StepLoss, keep_statistics
from clipdefend.training.job import Job
from clipdefend.training.optimizer import build_optimizer
from clipdefend.training.samples import Batch
from clipdefend.training.survey import Survey
from clipdefend.training.term_shares import gradient_norms, towers_in_training
from clipdefend.training.timetable import Stage
from clipdefend.training.towers import prepare_towers


class Stepper:
    """Prepares the defence and the model, and performs optimiser steps one at a time.

    Args:
        job: the training run; its model is changed in place, so the suspect must have been copied before.
        accelerator: an ``accelerate.Accelerator``.

    Attributes:
        model: the model as wrapped by Accelerate.
        course: the defence's state and hooks.
        optimizer: the optimiser of the weights of both.
    """

    def __init__(self, job: Job, accelerator: Any) -> None:
        self.job, self.accelerator = job, accelerator
        config = job.config
        self._data = Survey(
            pairs=job.pairs,
            canvas=job.canvas,
            config=config,
            seed=job.seed,
            workers=job.workers,
            accelerator=accelerator,
        )
        self._seed("prepare")
        self.course: Course = job.defence.prepare(job.model, self._data).to(accelerator.device)
        prepare_towers(job.model, config, accelerator.device)
        self._trained = towers_in_training(job.model)
        optimizer = build_optimizer(
            job.model,
            self.course,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            weight_decay=config.wd,
        )
        self.model, self.optimizer = accelerator.prepare(job.model, optimizer)
        self._reference: ClipModel | None = None
        if job.needs_reference:
            if job.suspect is None:
                raise ValueError("a term compares with the suspect and the job has no copy of it")
            self._reference = job.suspect.to(accelerator.device)

    @property
    def bare(self) -> ClipModel:
        """The model without the wrappers of several processes."""
        model: ClipModel = self.accelerator.unwrap_model(self.model)
        return model

    def begin_epoch(self, stage: Stage, epoch: int) -> None:
        """Call the defence's ``begin_epoch`` hook; epochs count from 0 over the whole run."""
        self._seed("begin epoch", epoch)
        self.course.begin_epoch(self.bare, self._data, epoch, stage.phase)

    def rows(self, stage: Stage, epoch: int) -> Rows | None:
        """Return the rows of an epoch; None means all rows."""
        return self.course.rows(epoch, stage.phase)

    def step(
        self,
        batches: Sequence[Batch],
        stage: Stage,
        *,
        epoch: int,
        number: int,
        rate: float,
        norms: bool = False,
    ) -> StepLoss:
        """Perform one optimiser step.

        Args:
            batches: this process's micro-batches.
            stage: the stage of the epoch.
            epoch: epoch, counted from 0.
            number: number of optimiser steps before this one, over the whole run.
            rate: learning rate.
            norms: whether to measure the gradient norm of each term.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(stage)(batches, number, epoch)
        if norms:
            with keep_statistics(self.course):
                gradients = gradient_norms(stage.phase.objective, loss.embeddings, self._trained)
            loss = replace(loss, norms=gradients)
        self._average_own_gradients()
        if self.job.config.grad_clip is not None:
            parameters = chain(self.model.parameters(), self.course.parameters())
            self.accelerator.clip_grad_norm_(parameters, self.job.config.grad_clip)
        self.optimizer.step()
        self.bare.clamp_scale()
        self._seed("after step", number)
        with torch.no_grad():
            step = Step(
                number=number + 1,
                epoch=epoch,
                phase=stage.phase,
                embeddings=loss.embeddings,
                loss=loss.total,
            )
            self.course.after_step(self.bare, step)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state dicts of model, optimiser, defence and scaler for the resume state."""
        state = {
            "model": self.bare.clip.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "course": self.course.state_dict(),
        }
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.bare.clip.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.course.load_state_dict(state["course"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _gradients(self, stage: Stage) -> Gradients:
        embed = Embedder(
            self.model, self._reference, stage.phase.objective, self.accelerator, extra=self.course.extra
        )
        return Gradients(embed=embed, seed=self.job.seed, complete=self.job.uses_all)

    def _average_own_gradients(self) -> None:
        """Average the gradients of the defence's own parameters, which DistributedDataParallel does not wrap.

        Every process computes the loss of the global batch, so the gradients differ by rounding only.
        """
        for parameter in self.course.parameters():
            if parameter.grad is not None:
                collectives.all_reduce_(parameter.grad).div_(collectives.world())

    def _seed(self, hook: str, number: int = 0) -> None:
        """Seed torch's generators before a hook; dropout gets its own seed in each step."""
        torch.manual_seed(draw_seed(self.job.seed, hook, number))
