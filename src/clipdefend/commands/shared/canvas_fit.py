"""Whether poisoned images have the geometry of the model that is trained on them."""

from __future__ import annotations

from clipdefend.choices import CanvasMode
from clipdefend.commands.shared.inputs import AttackRecord
from clipdefend.config import ModelConfig
from clipdefend.console import Console
from clipdefend.errors import ConfigError
from clipdefend.models.clip import Architecture
from clipdefend.models.configurations import read_architecture
from clipdefend.models.load import AUTO


def own_mode(architecture: Architecture) -> CanvasMode:
    """Return how a model's own preprocessing makes images square."""
    return "squash" if architecture.preprocess.get("resize_mode") == "squash" else "crop"


def read_early(name: str) -> Architecture | None:
    """Return a model's configuration without its weights; None where only the weights or the hub tell it."""
    return None if name == AUTO or name.startswith("hf-hub:") else read_architecture(name)


def check_size_early(chosen: ModelConfig, attack: AttackRecord) -> None:
    """Compare sizes before weights are fetched and data is opened. Raises ConfigError when they differ."""
    name = chosen.name or "RN50"
    architecture = read_early(name)
    if architecture is not None:
        check_size(name, architecture.image_size, attack)


def check_size(name: str, size: int, attack: AttackRecord) -> None:
    """Raise ConfigError when a model takes images of another size than the poisoned ones.

    Args:
        name: of the model, as given.
        size: side of its input in pixels.
        attack: of the poison run.
    """
    if size != attack.trigger.size:
        raise ConfigError(
            f"Model {name} takes images of {size} pixels, and run {attack.run.name} was poisoned at"
            f" {attack.trigger.size}: poison again with --for {name} or --image-size {size}, or give a --model of"
            f" {attack.trigger.size} pixels."
        )


def warn_of_geometry(name: str, architecture: Architecture, attack: AttackRecord, console: Console) -> None:
    """Warn where poisoned images were resized in another way than the model's own, which is a second trigger.

    Args:
        name: of the model, as given.
        architecture: of the loaded weights.
        attack: of the poison run.
        console: warned.
    """
    if attack.interpolation != architecture.interpolation:
        console.warn(
            f"Poisoned images were resized by {attack.interpolation} interpolation and clean ones are by"
            f" {architecture.interpolation}, a second difference between them: poison with --for {name} or"
            f" --interpolation {architecture.interpolation}."
        )
    mode = own_mode(architecture)
    if attack.canvas != mode:
        console.warn(
            f"Run {attack.run.name} was poisoned with --canvas {attack.canvas}, which training and evaluation here"
            f" follow; {name} by itself takes {mode}, as other tools will do with the trained model. If that is not"
            f" intended, poison with --for {name} or --canvas {mode}."
        )
