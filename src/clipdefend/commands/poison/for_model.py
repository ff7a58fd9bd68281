"""``poison --for MODEL``: the geometry of the images as the model's configuration has it."""

from __future__ import annotations

import dataclasses
from typing import Any

from clipdefend.commands.shared.canvas_fit import own_mode, read_early
from clipdefend.config import PoisonConfig, leaves, load_config
from clipdefend.console import Console
from clipdefend.errors import ConfigError


def fit_to_model(config: PoisonConfig, console: Console) -> PoisonConfig:
    """Return the configuration with size, interpolation and canvas of the model that ``--for`` names.

    No weights are read.

    Raises:
        CheckpointError: the model is unknown, or its configuration is damaged.
        ConfigError: a flag asks for another geometry, or the model's configuration comes with its weights alone.
    """
    if config.for_model is None:
        return config
    architecture = read_early(config.for_model)
    if architecture is None:
        raise ConfigError(
            f"--for {config.for_model!r} says nothing about sizes before its weights are there: give --image-size,"
            " --interpolation and --canvas instead."
        )
    wanted: dict[str, Any] = {
        "image_size": architecture.image_size,
        "interpolation": architecture.interpolation,
        "canvas": own_mode(architecture),
    }
    default = load_config(PoisonConfig, preset=config.preset)
    for key, value in wanted.items():
        given = getattr(config, key)
        if given not in (value, getattr(default, key)):
            flag = leaves(PoisonConfig)[key].spec.flags[0]
            raise ConfigError(
                f"{flag} is {given!r} and --for {config.for_model} takes {value!r}: leave one of them out."
            )
    shown = f"{wanted['image_size']} pixels, {wanted['interpolation']} interpolation, {wanted['canvas']}"
    console.info(f"Images for {config.for_model}: {shown}")
    return dataclasses.replace(config, **wanted)
