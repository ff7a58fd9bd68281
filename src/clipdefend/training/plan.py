"""Plans which samples each step sees, as a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipdefend.choices import SubcaptionSchedule
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError, DataError


class PlannedRow(NamedTuple):
    """One sample of a step: a row of the pairs, for the main batch or for the sub-caption batch."""

    row: int
    subset: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of an epoch.

    Global batches are slices of one permutation of the rows, and process r takes every ``world``-th row from r
    on, so the global batches are the same for any number of processes.

    Attributes:
        rows: number of pairs to train on.
        only: ids of these pairs, ascending, shape (rows,); None means 0 to rows - 1.
        batch: number of pairs per step, over all processes.
        seed: seed of the order.
        subset: number of sub-captioned rows of an epoch, 0 for none.
        schedule: placement of their batches: ``interleave`` spreads them evenly over the steps, ``epoch-end`` adds
            separate steps after the others, ``in-batch`` uses those rows that happen to be in a main batch.
        rank, world: rank of this process and number of processes.
    """

    rows: int
    batch: int
    seed: int
    subset: int = 0
    schedule: SubcaptionSchedule = "interleave"
    rank: int = 0
    world: int = 1
    only: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check that there are enough pairs to learn from.

        Raises:
            ConfigError: the global batch is a single pair.
            DataError: there are too few pairs for a step.
        """
        if self.batch < 2:
            raise ConfigError(
                "A global batch of one pair has nothing to contrast it with, so its loss is always 0: use"
                " --batch-size 2 or more."
            )
        if not self.main_steps:
            raise DataError(
                f"{self.rows} pairs are too few for a step of {self.batch}: at least {2 * self.world} are needed,"
                " two for each process."
            )

    @property
    def main_steps(self) -> int:
        """Number of steps with a main batch; a last batch of fewer than two pairs per process is dropped."""
        full, rest = divmod(self.rows, self.batch)
        return full + (rest // self.world >= 2)

    @property
    def subset_batches(self) -> int:
        """Number of sub-caption batches of an epoch; the last may be smaller.

        A batch in a separate step needs two rows per process, as a main batch does: batch norm refuses a single row.
        """
        if self.schedule == "in-batch":
            return 0
        full, rest = divmod(self.subset, self.batch)
        least = 2 if self.schedule == "epoch-end" else 1
        return full + (rest // self.world >= least)

    @property
    def steps(self) -> int:
        """Number of optimiser steps of an epoch."""
        return self.main_steps + (self.subset_batches if self.schedule == "epoch-end" else 0)

    def epoch(self, epoch: int, chosen: NDArray[np.int64], start: int = 0) -> Iterator[list[PlannedRow]]:
        """Yield the rows of this process for each step of an epoch.

        Args:
            epoch: counted from 0.
            chosen: sub-captioned rows of this epoch, in order, shape (at most ``subset``,).
            start: number of steps to skip, for a resumed epoch.
        """
        order = permutation(self.rows, self.seed, "order", epoch)
        if self.only is not None:
            order = self.only[order]
        members = set(chosen.tolist()) if self.schedule == "in-batch" else set()
        slots = self._slots()
        for step in range(start, self.steps):
            items = []
            if step < self.main_steps:
                batch_rows = order[step * self.batch : (step + 1) * self.batch]
                items = [PlannedRow(row, subset=False) for row in self._share(batch_rows)]
                inside = [row for row in batch_rows.tolist() if row in members]
                items += [PlannedRow(row, subset=True) for row in self._share(inside)]
            for batch in slots.get(step, []):
                rows = self._share(chosen[batch * self.batch : (batch + 1) * self.batch])
                items += [PlannedRow(row, subset=True) for row in rows]
            yield items

    def _share(self, rows: NDArray[np.int64] | list[int]) -> list[int]:
        """Return this process's rows of a global batch, the same number for each process."""
        even = len(rows) // self.world * self.world
        return [int(row) for row in rows[self.rank : even : self.world]]

    def _slots(self) -> dict[int, list[int]]:
        """Return step -> numbers of its sub-caption batches."""
        count = self.subset_batches
        if self.schedule == "epoch-end":
            return {self.main_steps + batch: [batch] for batch in range(count)}
        slots: dict[int, list[int]] = {}
        for batch in range(count):
            slots.setdefault((2 * batch + 1) * self.main_steps // (2 * count), []).append(batch)
        return slots
