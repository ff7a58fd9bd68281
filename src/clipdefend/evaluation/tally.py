"""Accumulates BA, ASR and RA batch by batch, storing one rank per image for any number of classes and k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.choices import AsrProtocol
from clipdefend.distributed import collectives
from clipdefend.evaluation.flat_metrics import flatten, lift
from clipdefend.metrics import (
    Ranks,
    attack_success,
    attacked,
    benign_accuracy,
    class_ranks,
    robust_accuracy,
)


@dataclass(kw_only=True)
class Tally:
    """Ranks of the true class and of the target, for each measured image.

    Attributes:
        labels: true classes of all images, by row, int64.
        target: the target class; None if it is not one of the classes, in which case there is RA but no ASR.
        protocol: which images count for ASR and RA.
        cosines: whether similarities are cosines with class texts, from which lift is computed, and not the logits of
            a linear probe.
    """

    labels: NDArray[np.int64]
    target: int | None = None
    protocol: AsrProtocol = "exclude-target"
    cosines: bool = True
    _rows: list[Ranks] = field(default_factory=list, init=False)
    _clean: list[Ranks] = field(default_factory=list, init=False)
    _true: list[Ranks] = field(default_factory=list, init=False)
    _target: list[Ranks] = field(default_factory=list, init=False)
    _lift: list[NDArray[np.float64]] = field(default_factory=list, init=False)

    def add(self, rows: NDArray[np.int64], clean: Tensor, triggered: Tensor | None) -> None:
        """Add a batch.

        Args:
            rows: rows of the images, shape (n,).
            clean: similarities of the clean images with the classes, shape (n, classes).
            triggered: similarities of the triggered images, of the same shape; None without a trigger.
        """
        self._rows.append(rows)
        self._clean.append(class_ranks(clean, self.labels[rows]))
        if triggered is not None:
            self._true.append(class_ranks(triggered, self.labels[rows]))
            if self.target is not None:
                self._target.append(class_ranks(triggered, self.target))
                if self.cosines:
                    risen = triggered[:, self.target] - clean[:, self.target]
                    self._lift.append(risen.double().cpu().numpy())

    def gather(self) -> None:
        """Add the ranks of the other processes."""
        lists: list[list[Any]] = [self._rows, self._clean, self._true, self._target, self._lift]
        parts = collectives.all_gather_object(
            [np.concatenate(each).tolist() if each else None for each in lists]
        )
        for place, each in enumerate(lists):
            kind = np.float64 if each is self._lift else np.int64
            each[:] = [np.array(part[place], kind) for part in parts if part[place] is not None]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the images added so far, shape (n,)."""
        return np.concatenate(self._rows) if self._rows else np.empty(0, np.int64)

    def metrics(self, ks: Sequence[int], among: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Return flat metrics, ``ba@1``, ``asr@1``, ``ra@1`` and so on, with intervals and counts.

        Args:
            ks: values of k.
            among: rows to count; None counts all.
        """
        kept = np.ones(len(self.rows), np.bool_) if among is None else np.isin(self.rows, among)
        labels = self.labels[self.rows][kept]
        found = flatten(ba=benign_accuracy(np.concatenate(self._clean)[kept], ks))
        if self._target and self.target is not None:
            ranks = np.concatenate(self._target)[kept]
            found |= flatten(asr=attack_success(ranks, labels, self.target, ks, self.protocol))
            if self._lift:
                counted = attacked(labels, self.target, self.protocol)
                found |= lift(np.concatenate(self._lift)[kept][counted])
        if self._true:
            ranks = np.concatenate(self._true)[kept]
            found |= flatten(ra=robust_accuracy(ranks, labels, self.target, ks, self.protocol))
        return found
