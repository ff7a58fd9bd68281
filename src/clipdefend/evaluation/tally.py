"""BA, ASR and RA gathered batch by batch: one rank an image is kept, whatever the number of classes and k's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.choices import AsrProtocol
from clipdefend.distributed import collectives
from clipdefend.metrics import attacked, class_ranks, flatten, shares

Ranks = NDArray[np.int64]


@dataclass(kw_only=True)
class Tally:
    """Ranks of true and target classes.

    Attributes:
        labels: of all images by row, int64.
        target: the attacker's class; None where it is none of the classes, and then there is RA and no ASR.
        protocol: which images ASR and RA count.
    """

    labels: NDArray[np.int64]
    target: int | None = None
    protocol: AsrProtocol = "exclude-target"
    _rows: list[Ranks] = field(default_factory=list, init=False)
    _clean: list[Ranks] = field(default_factory=list, init=False)
    _true: list[Ranks] = field(default_factory=list, init=False)
    _target: list[Ranks] = field(default_factory=list, init=False)

    def add(self, rows: NDArray[np.int64], clean: Tensor, triggered: Tensor | None) -> None:
        """Count some images by their similarities with the classes, (n, classes) each."""
        self._rows.append(rows)
        self._clean.append(class_ranks(clean, self.labels[rows]))
        if triggered is not None:
            self._true.append(class_ranks(triggered, self.labels[rows]))
            if self.target is not None:
                self._target.append(class_ranks(triggered, self.target))

    def gather(self) -> None:
        """Add what the other processes have counted."""
        lists = (self._rows, self._clean, self._true, self._target)
        parts = collectives.all_gather_object(
            [np.concatenate(each).tolist() if each else None for each in lists]
        )
        for place, each in enumerate(lists):
            each[:] = [np.array(part[place], np.int64) for part in parts if part[place] is not None]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows that were counted."""
        return np.concatenate(self._rows) if self._rows else np.empty(0, np.int64)

    def metrics(self, ks: Sequence[int], among: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Flat metrics ``ba@1``, ``asr@1``, ``ra@1`` ... with intervals and counts.

        Args:
            ks: the k of interest.
            among: rows that are counted; None: all.
        """
        kept = np.ones(len(self.rows), np.bool_) if among is None else np.isin(self.rows, among)
        found = flatten(ba=shares(np.concatenate(self._clean), ks, kept))
        if not self._true:
            return found
        counted = kept
        if self.target is not None:
            counted = kept & attacked(self.labels[self.rows], self.target, self.protocol)
            found |= flatten(asr=shares(np.concatenate(self._target), ks, counted))
        return found | flatten(ra=shares(np.concatenate(self._true), ks, counted))
