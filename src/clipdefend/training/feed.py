"""The batches of an epoch, as a loader's workers make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from clipdefend.errors import ClipDefendError
from clipdefend.training.interrupt import leave_to_parent
from clipdefend.training.job import Job
from clipdefend.training.plan import Item, Plan
from clipdefend.training.views import Batch, SubCaptionPair, Views, collate


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Reads what the plan says.

    Attributes:
        job: names the pairs, their views and the workers.
        plan: of this process.
        tokenize: list of strings -> tokens (n, context length).
    """

    job: Job
    plan: Plan
    tokenize: Callable[[list[str]], Tensor]

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """This process's batches of an epoch from step ``start`` on.

        Raises:
            DataError: rows that cannot be used, one after the other.
            ClipDefendError: a worker was killed.
        """
        job = self.job
        chosen: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        made: Mapping[int, SubCaptionPair] = {}
        if job.subcaptions is not None:
            chosen, made = job.subcaptions.draw(epoch)
        views = Views(
            pairs=job.pairs,
            canvas=job.canvas,
            tokenize=self.tokenize,
            objective=job.objective,
            seed=job.seed,
            epoch=epoch,
            subcaptions=made,
        )
        steps: list[list[Item]] | Any = _Steps(self.plan, epoch, chosen, start)
        loader = DataLoader(
            views,
            batch_sampler=steps,
            collate_fn=collate,
            num_workers=job.workers,
            worker_init_fn=leave_to_parent,
            prefetch_factor=4 if job.workers else None,
        )
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise ClipDefendError(
                "A process that reads images was killed, as happens for want of memory: try fewer --workers."
            ) from error


class _Steps:
    """The plan of an epoch as a loader's batch sampler."""

    def __init__(self, plan: Plan, epoch: int, chosen: Any, start: int) -> None:
        self._arguments = (epoch, chosen, start)
        self._plan = plan

    def __iter__(self) -> Iterator[list[Item]]:
        return self._plan.epoch(*self._arguments)

    def __len__(self) -> int:
        return self._plan.steps - self._arguments[2]
