"""The configuration of ``poison``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from clipdefend.choices import CanvasMode, Interpolation
from clipdefend.config.data_options import ColumnsConfig, excluded_run, pairs_option
from clipdefend.config.fields import COUNT, Range, nested, option
from clipdefend.config.model_options import ModelConfig, device_option, input_model
from clipdefend.config.run_options import RunConfig
from clipdefend.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PoisonConfig(RunConfig):
    """Put a trigger on some image-caption pairs and give them captions of the target class."""

    command: ClassVar[str] = "poison"
    group: ClassVar[str] = "Poison"
    exclusive: ClassVar[tuple[str, ...]] = ("count", "rate")

    attack: dict[str, Any] = option(
        None,
        "--attack",
        "Trigger by name (--list shows all); its parameters by --set attack.alpha=0.3.",
        factory=lambda: {"name": "badnet"},
        metavar="NAME",
    )
    data: str = pairs_option("builtin")
    target: str = option("banana", "--target", "Target class, by name.", metavar="CLASS")
    count: int | None = option(1500, "--count", "Pairs to poison.", range=COUNT)
    rate: float | None = option(
        None, "--rate", "Share of the pairs to poison, in place of --count.", range=Range(above=0, high=1)
    )
    canvas: CanvasMode = option(
        "crop", "--canvas", "Geometry under the trigger: resize and centre crop, or the older papers' squash."
    )
    # At least the window of the preview's SSIM.
    image_size: int = option(
        224, "--image-size", "Pixels of the canvas, the model's input size.", range=Range(low=11, high=4096)
    )
    interpolation: Interpolation = option(
        "bicubic", "--interpolation", "How images are resized to the canvas, the model's own way."
    )
    captions: Literal["templates", "natural"] = option(
        "templates", "--captions", "Poisoned captions: prompts of the target, or captions found in the data."
    )
    label_consistent: bool = option(
        False, "--label-consistent", "Poison only pairs whose caption names the target, and keep the caption."
    )
    templates: str = option(
        "imagenet",
        "--templates",
        "Prompts of poisoned captions: imagenet, simple, builtin or a file.",
        metavar="SET",
    )
    exclude_manifest: str | None = excluded_run()
    from_manifest: str | None = option(
        None,
        "--from-manifest",
        "Poison run to make again, byte for byte, from its manifest and the clean data.",
        metavar="RUN",
        shown="none",
    )
    trigger_from: str | None = option(
        None,
        "--trigger-from",
        "--ssba-from",
        "Poison run whose trigger is used again, in place of a new one.",
        metavar="RUN",
        shown="none",
    )
    ssba_images: str | None = option(
        None,
        "--ssba-images",
        "Folder with images that another encoder made: train/ and eval/ with 000000012.png and so on.",
        metavar="DIR",
        shown="an encoder is trained",
    )
    selection: Literal["random", "thirds"] = option(
        "random",
        "--selection",
        "Pairs to poison: any, or, as in BadCLIP, thirds at the target's boundary, far from it and random.",
    )
    selection_pool: int = option(10_000, "Pairs that --selection thirds looks at.", range=COUNT)
    class_names: str | None = option(
        None,
        "--class-names",
        "Classes that the surrogate tells the target from: imagenet or a file.",
        metavar="SET",
        shown="the built-in world's or imagenet",
    )
    surrogate: ModelConfig = nested(
        input_model,
        "Surrogate, for badclip and --selection thirds",
        flags={"name": ("--surrogate",), "pretrained": ("--surrogate-pretrained",)},
    )
    device: str = device_option()
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.count is None) == (self.rate is None):
            raise ConfigError(
                f"count is {self.count} and rate is {self.rate}; give one and set the other to null."
            )
