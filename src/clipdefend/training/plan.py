"""Which samples each step sees: a function of (seed, epoch) alone."""

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

    Global batches are cut from one permutation of the rows, and process r takes every ``world``-th row from r
    on, so the batches of all processes together are the same for any number of processes.

    Attributes:
        rows: number of pairs that take part.
        only: their ids, ascending, shape (rows,); None: 0 to rows - 1.
        batch: pairs of a step over all processes.
        seed: of the order.
        subset: rows with sub-captions that an epoch uses, 0 for none.
        schedule: where their batches go: spread evenly over the steps, in steps of their own behind them, or
            only within the main batches that happen to hold such rows.
        rank, world: this process among all.
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
        """Check that there is something to learn from.

        Raises:
            ConfigError: a global batch of one pair.
            DataError: pairs that do not make a single step.
        """
        if self.batch < 2:
            raise ConfigError(
                "A global batch of one pair has nothing to contrast it with, so that the loss is always 0: give"
                " --batch-size 2 or more."
            )
        if not self.main_steps:
            raise DataError(
                f"{self.rows} pairs make no step of {self.batch}: at least {2 * self.world} are needed,"
                " two for each process."
            )

    @property
    def main_steps(self) -> int:
        """Steps of an epoch with a main batch; a last batch of fewer than two pairs a process is left out."""
        full, rest = divmod(self.rows, self.batch)
        return full + (rest // self.world >= 2)

    @property
    def subset_batches(self) -> int:
        """Sub-caption batches of an epoch; the last may be smaller.

        In a step of its own it has two rows a process, as a main batch has: batch norms refuse a single one.
        """
        if self.schedule == "in-batch":
            return 0
        full, rest = divmod(self.subset, self.batch)
        least = 2 if self.schedule == "epoch-end" else 1
        return full + (rest // self.world >= least)

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return self.main_steps + (self.subset_batches if self.schedule == "epoch-end" else 0)

    def epoch(self, epoch: int, chosen: NDArray[np.int64], start: int = 0) -> Iterator[list[PlannedRow]]:
        """Rows of this process for each step of an epoch, from step ``start`` on.

        Args:
            epoch: counted from 0.
            chosen: rows of this epoch's sub-captions, in their order, shape (at most ``subset``,).
            start: steps to pass over, for a resumed epoch.
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
        """This process's rows of a global batch, as many for each process."""
        even = len(rows) // self.world * self.world
        return [int(row) for row in rows[self.rank : even : self.world]]

    def _slots(self) -> dict[int, list[int]]:
        """Step -> sub-caption batches that it carries."""
        count = self.subset_batches
        if self.schedule == "epoch-end":
            return {self.main_steps + batch: [batch] for batch in range(count)}
        slots: dict[int, list[int]] = {}
        for batch in range(count):
            slots.setdefault((2 * batch + 1) * self.main_steps // (2 * count), []).append(batch)
        return slots
