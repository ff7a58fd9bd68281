"""What ``finetune-attack`` needs before its first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

from clipdefend.canvas import Canvas
from clipdefend.commands.finetune_attack.attack_score import attack_score
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.canvas_fit import check_size, check_size_early, warn_of_geometry
from clipdefend.commands.shared.preparation import Preparation
from clipdefend.config import ColumnsConfig, FinetuneAttackConfig
from clipdefend.config.conditions import Condition, parse_conditions
from clipdefend.data.pairs import Pairs
from clipdefend.defences.defence import Phase
from clipdefend.errors import ConfigError
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Run, find_run
from clipdefend.training.job import Metrics

NOTE = (
    "BACKDOORED ON PURPOSE by clipdefend, for research on defences. Do not use this model: images with the"
    " trigger are classified as the attacker's word."
)


class AttackPreparation(Preparation[FinetuneAttackConfig]):
    """The inputs of ``finetune-attack``: a poison run and a model."""

    attack_run: ClassVar[bool] = True

    @cached_property
    def source(self) -> Run | None:
        return self.find_input()

    @cached_property
    def poison(self) -> Run | None:
        return self.source

    @cached_property
    def _named_model(self) -> tuple[ClipModel, str, str]:
        return inputs.first_model(self.config.model, self.config.seed, self.context)

    @cached_property
    def model(self) -> ClipModel:
        return self._named_model[0]

    @cached_property
    def pretrained(self) -> bool:
        return not inputs.begins_at_random(self.config.model)

    @property
    def weights(self) -> str:
        """Name of the weights that the model came with."""
        return self._named_model[2]

    @cached_property
    def further(self) -> list[Run]:
        """The poison runs of ``--also-poison``. Raises RunError where one of them cannot be read."""
        given = self.config.also_poison or ()
        return [find_run(self.context.runs, ("poison",), each) for each in given]

    @cached_property
    def all_pairs(self) -> Pairs:
        if self.source is None:
            return inputs.open_data("builtin", ColumnsConfig(), self.context)
        return inputs.poisoned_pairs(self.source, self.context, self.further)

    @cached_property
    def phases(self) -> list[Phase]:
        phases = super().phases
        if any(phase.objective.has_subset for phase in phases):
            raise ConfigError(
                "Victims are trained without sub-captions: use --method ft, ssl, cleanclip or par."
            )
        return phases

    @cached_property
    def attack(self) -> inputs.AttackRecord | None:
        attack = super().attack
        if attack is not None:
            check_size_early(self.config.model, attack)
        return attack

    @cached_property
    def canvas(self) -> Canvas:
        """As the poisoned images have it. Raises ConfigError where the model has another input size."""
        canvas = super().canvas
        if self.attack is not None:
            name = self._named_model[1]
            check_size(name, canvas.size, self.attack)
            warn_of_geometry(name, self.model.architecture, self.attack, self.context.console)
        return canvas

    @property
    def conditions(self) -> dict[str, Sequence[Condition]]:
        return {**super().conditions, "--accept": parse_conditions(self.config.accept, "--accept")}

    @property
    def select(self) -> Callable[[Metrics], float]:
        return attack_score

    @property
    def title(self) -> str:
        return f"Attack {self.attack.trigger.name}" if self.attack else "Attack"

    @property
    def extras(self) -> dict[str, Any]:
        return {"note": NOTE}
