"""Training by weighted terms, in one phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Defence, Phase
from clipdefend.objectives.objective import Objective


@dataclass(frozen=True, kw_only=True)
class TermsDefence(Defence):
    """Minimises an objective over all pairs as configured, which is all that each of ``METHODS`` does.

    Attributes:
        objective: made by ``clipdefend.objectives.objective.build_objective``.
    """

    objective: Objective

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=self.objective)]

    def to_dict(self) -> dict[str, Any]:
        return {"terms": self.objective.to_dict()}
