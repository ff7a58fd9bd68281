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
        "Trigger to use (--list shows all); set its parameters with --set, as in --set attack.alpha=0.3.",
        factory=lambda: {"name": "badnet"},
        metavar="NAME",
    )
    data: str = pairs_option("builtin")
    target: str = option("banana", "--target", "Name of the target class.", metavar="CLASS")
    count: int | None = option(1500, "--count", "Number of pairs to poison.", range=COUNT)
    rate: float | None = option(
        None, "--rate", "Fraction of the pairs to poison, instead of --count.", range=Range(above=0, high=1)
    )
    canvas: CanvasMode = option(
        "crop",
        "--canvas",
        "How images are made square before the trigger is applied: crop resizes and crops the centre,"
        " squash resizes both sides, as older papers did.",
    )
    # At least the window of the preview's SSIM.
    image_size: int = option(
        224,
        "--image-size",
        "Side of the poisoned images in pixels; use the model's input size.",
        range=Range(low=11, high=4096),
    )
    interpolation: Interpolation = option(
        "bicubic", "--interpolation", "How poisoned images are resized; use the model's own method."
    )
    for_model: str | None = option(
        None,
        "--for",
        "Model that will be trained: --image-size, --interpolation and --canvas follow its configuration.",
        metavar="MODEL",
        shown="none",
    )
    captions: Literal["templates", "natural"] = option(
        "templates",
        "--captions",
        "Captions of poisoned pairs: prompts with the target's name, or captions from the data that mention it.",
    )
    label_consistent: bool = option(
        False,
        "--label-consistent",
        "Poison only pairs whose caption names the target, and keep their captions.",
    )
    templates: str = option(
        "imagenet",
        "--templates",
        "Prompts for poisoned captions: imagenet, simple, builtin, or a file.",
        metavar="SET",
    )
    exclude_manifest: str | None = excluded_run()
    from_manifest: str | None = option(
        None,
        "--from-manifest",
        "Poison run to recreate byte for byte from its manifest and the clean data.",
        metavar="RUN",
    )
    trigger_from: str | None = option(
        None,
        "--trigger-from",
        "--ssba-from",
        "Poison run whose trigger is reused instead of making a new one.",
        metavar="RUN",
    )
    ssba_images: str | None = option(
        None,
        "--ssba-images",
        "Folder of images encoded elsewhere, as train/000000012.png and eval/000000012.png;"
        " the parameter precomputed of the attack.",
        metavar="DIR",
        shown="train an encoder",
        writes="attack.precomputed",
    )
    selection: Literal["random", "thirds"] = option(
        "random",
        "--selection",
        "How pairs are chosen: at random, or, as in BadCLIP, one third each near the target's boundary,"
        " far from it, and at random.",
    )
    selection_pool: int = option(10_000, "Number of pairs that --selection thirds chooses from.", range=COUNT)
    class_names: str | None = option(
        None,
        "--class-names",
        "Class names that the surrogate model distinguishes from the target: imagenet or a file; also those of"
        " --eval-data.",
        metavar="SET",
        shown="builtin for built-in data, otherwise imagenet",
    )
    eval_data: str | None = option(
        None,
        "--eval-data",
        "Labelled images on which BA and RA of the clean model under the trigger are measured.",
        metavar="SPEC",
        shown="none",
    )
    surrogate: ModelConfig = nested(
        input_model,
        "Surrogate (the clean model), for badclip, --selection thirds and --eval-data",
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
