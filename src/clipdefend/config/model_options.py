"""Which model is started from, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipdefend.config.fields import Config, option


def device_option() -> Any:
    """Where the model runs; a dataclass field."""
    return option("auto", "--device", "Device: auto, cpu, cuda, cuda:1, and so on.", metavar="NAME")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """The open_clip model that is started from; null: what the input run's model says."""

    name: str | None = option(
        "RN50",
        "--model",
        "open_clip model name, tiny, a folder, hf-hub:NAME, or auto: deduced from the weights.",
        metavar="NAME",
    )
    pretrained: str | None = option(
        None,
        "--pretrained",
        "Tag, file or folder of its weights, or none for random weights.",
        metavar="TAG",
        shown="the model's own, otherwise openai",
    )


def input_model() -> ModelConfig:
    """The model of the input run, unless flags name another."""
    return ModelConfig(name=None, pretrained=None)
