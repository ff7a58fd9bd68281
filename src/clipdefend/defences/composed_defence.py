"""Base class of defences that add something to the training of a method."""

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
    """Trains with the terms of a method, in one phase; subclasses add to it.

    Attributes:
        method: a name in ``METHODS``.
        terms: changes to its terms, as in ``build_objective``; set by ``--set terms.NAME.KEY=VALUE``.
    """

    method: str = "cleanclip"
    terms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown method or term, and ValueError for a value of the wrong type."""
        check_fields(self)
        build_objective(self.method, self.terms)

    @property
    def objective(self) -> Objective:
        """The objective of the method."""
        return build_objective(self.method, self.terms)

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        return [Phase(objective=self.objective)]
