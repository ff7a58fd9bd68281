"""Defences that add something to the training of a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipdefend.config import TrainConfig
from clipdefend.defences.defence import Defence, Phase
from clipdefend.objectives.objective import Objective, build_objective
from clipdefend.objectives.term import check_fields


@dataclass(frozen=True, kw_only=True)
class ComposedDefence(Defence):
    """Trains by the terms of a method, in one phase; subclasses do something more.

    Attributes:
        method: a name of ``METHODS``.
        terms: changes to its terms, as of ``build_objective``; ``--set terms.NAME.KEY=VALUE`` goes here.
    """

    method: str = "cleanclip"
    terms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigError for an unknown method or term, ValueError for a value of another type."""
        check_fields(self)
        build_objective(self.method, self.terms)

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return build_objective(self.method, self.terms)

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=self.objective)]
