"""The batches of an epoch, as a loader's workers make them."""

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
    """Reads what the plan says.

    Attributes:
        job: names the pairs and the workers.
        phase: names the views.
        plan: of this process.
        tokenize: list of strings -> tokens (n, context length).
        pinned: put batches into page-locked memory, from which a GPU copies while it computes.
    """

    job: Job
    phase: Phase
    plan: Plan
    tokenize: Callable[[list[str]], Tensor]
    pinned: bool = False

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        """This process's micro-batches of each step of an epoch, from step ``start`` on.

        Raises:
            DataError: rows that cannot be used, one after the other.
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
        """Rows of the epoch's sub-captions in their order, and the sub-captions; of the plan's rows alone."""
        if self.job.subcaptions is None or not self.phase.objective.has_subset:
            return np.empty(0, dtype=np.int64), {}
        chosen, made = self.job.subcaptions.draw(epoch)
        if self.plan.only is None:
            return chosen, made
        kept = chosen[np.isin(chosen, self.plan.only)]
        if not len(kept):
            raise DataError(f"No row of phase {self.phase.name!r} has a sub-caption: raise --n-aug.")
        # Fewer rows come round again, as where too few captions have sub-captions.
        return np.resize(kept, len(chosen)), {int(row): made[int(row)] for row in kept}


class _MicroBatches:
    """The steps of an epoch as a loader's sampler of micro-batches, and back again.

    The loader asks for micro-batches in this process, ahead of those that it returns.
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
        """Micro-batches of each step."""
        for first in batches:
            yield [first, *islice(batches, self._counts.popleft() - 1)]


def micro_batches(items: Sequence[PlannedRow], size: int) -> list[list[PlannedRow]]:
    """Cut a step's items into parts of at most ``size`` of the main and ``size`` of the sub-caption batch.

    There are as few parts as that takes, and they are as equal as can be.
    """
    main = [item for item in items if not item.subset]
    subset = [item for item in items if item.subset]
    count = max(-(-len(main) // size), -(-len(subset) // size))
    return [_part(main, number, count) + _part(subset, number, count) for number in range(count)]


def _part(items: list[PlannedRow], number: int, count: int) -> list[PlannedRow]:
    return items[number * len(items) // count : (number + 1) * len(items) // count]
