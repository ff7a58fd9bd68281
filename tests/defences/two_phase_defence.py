"""A defence with two phases over different rows, with objectives and learning rates of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Defence, Phase
from clipdefend.objectives.objective import build_objective


@dataclass(frozen=True, kw_only=True)
class TwoPhaseDefence(Defence):
    """Reference: none, a test."""

    share: float = 0.5

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        first = int(self.share * rows)
        return [
            Phase(
                name="within",
                objective=build_objective("ssl"),
                rows=np.arange(first),
                epochs=1,
                lr=train.lr / 10,
                warmup=0,
                lr_scheduler="const",
            ),
            Phase(name="across", objective=build_objective("ft"), rows=np.arange(first, rows), epochs=2),
        ]
