"""Making the trigger of a poison run: drawn, learned, or taken from another run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipdefend.attacks.trigger import TENSOR_FILE, Trigger
from clipdefend.canvas import Canvas
from clipdefend.commands.shared.inputs import AttackRecord, first_model, named_attack
from clipdefend.components import attack_parameters
from clipdefend.config import FinetuneAttackConfig, ModelConfig, PoisonConfig, load_config
from clipdefend.data.bad import BadRows
from clipdefend.data.class_names.imagenet import imagenet_classes
from clipdefend.data.classes import load_classes, load_templates, resolve_target
from clipdefend.data.pairs import Pairs
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.learning import learn
from clipdefend.learning.learning_inputs import LearningInputs, Surrogate
from clipdefend.learning.selection import select
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.image_changes import auto_augment
from clipdefend.poisoning import Recipe
from clipdefend.runs import Context, PoisonDetails, Run, RunDir
from clipdefend.training.devices import make_accelerator


@dataclass(frozen=True)
class MadeTrigger:
    """A trigger; how it was learned, for those that are; and the run that it was taken from, where it was."""

    trigger: Trigger
    learning: dict[str, Any] | None = None
    parent: Run | None = None


@dataclass
class TriggerMaker:
    """Makes the trigger and chooses the rows, with one surrogate for both.

    Attributes:
        config, context: of the command.
        pairs: clean.
        bad: counts rows that cannot be used.
    """

    config: PoisonConfig
    context: Context
    pairs: Pairs
    bad: BadRows

    @property
    def canvas(self) -> Canvas:
        return Canvas(self.config.image_size, self.config.canvas, self.config.interpolation)

    def untrained(self) -> Trigger:
        """The trigger as it is drawn from the seed. Raises ConfigError for one that cannot be."""
        name, parameters = attack_parameters(self.config)
        return Trigger.create(name, parameters, size=self.config.image_size, seed=self.config.seed)

    def make(self, folder: RunDir, rebuilt: Run | None = None) -> MadeTrigger:
        """Draw, learn or take over the trigger.

        Args:
            folder: of the new run, which keeps the loss curve.
            rebuilt: the run that is made again; its trigger is taken over where it still has it.
        """
        drawn = self.untrained()
        if rebuilt is not None and (rebuilt.path / TENSOR_FILE).exists():
            return MadeTrigger(_for_training(AttackRecord.of(rebuilt)), PoisonDetails.of(rebuilt).learning)
        if self.config.trigger_from is not None:
            return self._take_over(drawn)
        if not drawn.attack.learned:
            return MadeTrigger(drawn)
        learned = learn(drawn.name, self._learning_inputs(drawn, folder))
        trigger = dataclasses.replace(drawn, tensors=learned.tensors)
        return MadeTrigger(trigger, dict(learned.details))

    def choose(self, order: NDArray[np.int64], recipe: Recipe) -> NDArray[np.int64]:
        """Put the rows that ``--selection thirds`` chooses to the front of an order of rows."""
        if self.config.label_consistent:
            raise ConfigError(
                "--selection thirds and --label-consistent exclude each other: give one of them."
            )
        if len(self._surrogate.texts) < 2:
            raise ConfigError(
                f"--selection thirds ranks {self.config.target!r} among other classes: name them with --class-names."
            )
        return select(self._learning_inputs(recipe.trigger), order, recipe.count, self.config.selection_pool)

    def _take_over(self, drawn: Trigger) -> MadeTrigger:
        attack = named_attack(self.context, str(self.config.trigger_from))
        run, trigger = attack.run, _for_training(attack)
        if (trigger.name, trigger.size) != (drawn.name, drawn.size):
            raise ConfigError(
                f"The trigger of run {run.name} is {trigger.name} for {trigger.size} pixels: give --attack"
                f" {trigger.name} --image-size {trigger.size} with --trigger-from."
            )
        self.context.console.info(f"Trigger of run {run.name}: {trigger.describe()}")
        learning = PoisonDetails.of(run).learning if run.command == "poison" else None
        return MadeTrigger(trigger, learning, run)

    def _learning_inputs(self, drawn: Trigger, folder: RunDir | None = None) -> LearningInputs:
        config = self.config
        return LearningInputs(
            attack=drawn.attack,
            pairs=self.pairs,
            canvas=self.canvas,
            target=config.target,
            templates=load_templates(config.templates),
            surrogate=lambda: self._surrogate,
            augment=auto_augment,
            seed=config.seed,
            bad=self.bad,
            console=self.context.console,
            log=folder.log if folder is not None else lambda line: None,
            workers=config.workers,
            device=self._device,
        )

    @cached_property
    def _device(self) -> torch.device:
        device: torch.device = make_accelerator(self.config.device).device
        return device

    @cached_property
    def clean_model(self) -> ClipModel:
        """The surrogate's model, on the device of the run, in evaluation mode."""
        model, name, weights = first_model(surrogate_config(self.config), self.config.seed, self.context)
        self.context.console.info(f"Clean model: {name}, weights {weights}")
        return model.requires_grad_(False).to(self._device).eval()

    @cached_property
    def _surrogate(self) -> Surrogate:
        config, model = self.config, self.clean_model
        if model.image_size != config.image_size:
            raise ConfigError(
                f"Surrogate {surrogate_config(config).name} sees {model.image_size} pixels and the canvas has"
                f" {config.image_size}: give --image-size {model.image_size}, or another --surrogate."
            )
        classes = self._classes()
        texts = class_embeddings(model, classes, load_templates(config.templates))
        return Surrogate(model, texts, resolve_target(classes, config.target))

    def _classes(self) -> list[str]:
        """Return the classes that compete with the target; the target alone if they are unknown."""
        if self.config.class_names is not None:
            return load_classes(self.config.class_names).classes or []
        if self.pairs.spec.startswith("builtin"):
            from clipdefend import world

            return list(world.CLASSES)
        known = imagenet_classes()
        try:
            resolve_target(known, self.config.target)
        except DataError:
            return [self.config.target]
        return known


def _for_training(attack: AttackRecord) -> Trigger:
    """The trigger of a poison run as poisoned images get it; what the run records is for evaluated ones."""
    return dataclasses.replace(attack.trigger, attack=attack.trigger.attack.for_training())


def surrogate_config(config: PoisonConfig) -> ModelConfig:
    """The surrogate that flags name, else the model of ``--for``, else the one that ``finetune-attack`` begins with."""
    name = config.surrogate.name or config.for_model
    given = {"model.name": name, "model.pretrained": config.surrogate.pretrained}
    return load_config(FinetuneAttackConfig, preset=config.preset, flags=given).model
