"""Events between the steps of a run: evaluations, saved epochs and early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clipdefend.config import TrainConfig
from clipdefend.config.conditions import parse_conditions
from clipdefend.errors import ConfigError
from clipdefend.evaluation.zero_shot import epoch_metrics

FOLDER = "epochs"


@dataclass(frozen=True)
class Milestones:
    """Training options about evaluation, saved epochs and early stopping, applied to a number of epochs.

    Attributes:
        config: the training options.
        epochs: number of epochs of the run.

    Raises:
        ConfigError: ``--keep-epochs`` names an epoch that the run does not have.
    """

    config: TrainConfig
    epochs: int

    def __post_init__(self) -> None:
        beyond = [number for number in self.config.kept_epochs or () if number > self.epochs]
        if beyond:
            raise ConfigError(f"--keep-epochs names epoch {beyond[0]}, but the run has {self.epochs}.")

    def evaluates_after(self, epoch: int) -> bool:
        """Whether to evaluate after an epoch, counted from 1; always after the last, unless evaluation is off."""
        every = self.config.eval_every
        return every > 0 and (every < 1 or epoch % every == 0 or epoch == self.epochs)

    def marks(self, steps: int) -> dict[int, float]:
        """Return the evaluations within an epoch: number of finished steps -> finished share of the epoch."""
        every = self.config.eval_every
        parts = round(1 / every) if 0 < every < 1 else 1
        places = {round(part * steps / parts): part / parts for part in range(1, parts)}
        return {step: round(share, 6) for step, share in places.items() if 0 < step < steps}

    def keeps(self, epoch: int) -> bool:
        """Whether to keep the weights of a finished epoch, counted from 1."""
        return self.config.keep_epochs == "all" or epoch in (self.config.kept_epochs or ())

    def ends_run(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics of an evaluation meet ``--stop-at``."""
        conditions = parse_conditions(self.config.stop_at, "--stop-at")
        return bool(conditions) and all(condition.holds(epoch_metrics(metrics)) for condition in conditions)
