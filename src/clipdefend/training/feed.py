"""Loads the batches of an epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from clipdefend.data.workers import batches_of, leave_to_parent
from clipdefend.defences.defence import Phase, Rows
from clipdefend.errors import DataError
from clipdefend.objectives.views import SubCaptionPair
from clipdefend.training.job import Job
from clipdefend.training.plan import Plan, PlannedRow
from clipdefend.training.samples import Batch, Views, collate


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Loads the planned rows.

    Attributes:
        job: provides the pairs and the number of workers.
        phase: its objective decides which views are made.
        plan: the plan of this process.
        tokenize: list of n strings -> tokens, shape (n, context length).
        pinned: put batches into page-locked memory, so that copies to a GPU overlap with computation.
    """

    job: Job
    phase: Phase
    plan: Plan
    tokenize: Callable[[list[str]], Tensor]
    pinned: bool = False

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        """Yield this process's micro-batches of each step of an epoch.

        Args:
            epoch: counted from 0.
            start: first step, for a resumed epoch.

        Raises:
            DataError: too many consecutive rows cannot be used.
            WorkerLost: a worker was killed.
        """
        job = self.job
        chosen, made = self._subcaptions(epoch)
        views = Views(
            pairs=job.pairs,
            canvas=job.canvas,
            tokenize=self.tokenize,
            objective=self.phase.objective,
            seed=job.seed,
            epoch=epoch,
            subcaptions=made,
            only=self.plan.only,
        )
        steps = _MicroBatches(self.plan.epoch(epoch, chosen, start), job.config.batch_size)
        loader = DataLoader(
            views,
            batch_sampler=steps,
            collate_fn=collate,
            num_workers=job.workers,
            worker_init_fn=leave_to_parent,
            prefetch_factor=4 if job.workers else None,
            pin_memory=self.pinned,
        )
        yield from steps.group(batches_of(loader))

    def _subcaptions(self, epoch: int) -> tuple[Rows, Mapping[int, SubCaptionPair]]:
        """Return the epoch's sub-captioned rows in order, and their sub-captions, limited to the plan's rows."""
        if self.job.subcaptions is None or not self.phase.objective.has_subset:
            return np.empty(0, dtype=np.int64), {}
        chosen, made = self.job.subcaptions.draw(epoch)
        if self.plan.only is None:
            return chosen, made
        kept = chosen[np.isin(chosen, self.plan.only)]
        if not len(kept):
            raise DataError(f"No row of phase {self.phase.name!r} has a sub-caption: raise --n-aug.")
        # Rows repeat if there are fewer than planned, as when too few captions have sub-captions.
        return np.resize(kept, len(chosen)), {int(row): made[int(row)] for row in kept}


class _MicroBatches:
    """Flattens the steps of an epoch into a sampler of micro-batches, and regroups the loaded ones.

    The loader consumes the sampler in this process, ahead of the micro-batches that it returns.
    """

    def __init__(self, steps: Iterator[list[PlannedRow]], size: int) -> None:
        self._steps = steps
        self._size = size
        self._counts: deque[int] = deque()

    def __iter__(self) -> Iterator[list[PlannedRow]]:
        for items in self._steps:
            parts = micro_batches(items, self._size)
            self._counts.append(len(parts))
            yield from parts

    def group(self, batches: Iterator[Batch]) -> Iterator[list[Batch]]:
        """Group loaded micro-batches by step."""
        for first in batches:
            yield [first, *islice(batches, self._counts.popleft() - 1)]


def micro_batches(items: Sequence[PlannedRow], size: int) -> list[list[PlannedRow]]:
    """Split a step into micro-batches of at most ``size`` main and ``size`` sub-captioned rows.

    There are as few as possible, of as equal size as possible.
    """
    main = [item for item in items if not item.subset]
    subset = [item for item in items if item.subset]
    count = max(-(-len(main) // size), -(-len(subset) // size))
    return [_part(main, number, count) + _part(subset, number, count) for number in range(count)]


def _part(items: list[PlannedRow], number: int, count: int) -> list[PlannedRow]:
    return items[number * len(items) // count : (number + 1) * len(items) // count]
