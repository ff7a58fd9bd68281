# ruff: noqa: RUF009  # option() and nested() return dataclass fields
"""The commands' configurations. Every default stands here, in ``results`` or in ``shared``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from clipdefend.config.fields import Config, Range, nested, option
from clipdefend.config.result_commands import EvaluateConfig, ReportConfig
from clipdefend.config.shared import (
    COUNT,
    NATURAL,
    ColumnsConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
    SubcaptionConfig,
    TrainConfig,
    defence_training,
    device_option,
    excluded_run,
    input_model,
    pairs_option,
)
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
    canvas: Literal["crop", "squash"] = option(
        "crop", "--canvas", "Geometry under the trigger: resize and centre crop, or the older papers' squash."
    )
    # At least the window of the preview's SSIM.
    image_size: int = option(
        224, "--image-size", "Pixels of the canvas, the model's input size.", range=Range(low=11, high=4096)
    )
    interpolation: Literal["bicubic", "bilinear", "nearest"] = option(
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


@dataclass(frozen=True, kw_only=True)
class FinetuneAttackConfig(RunConfig):
    """Train a model on a poisoned set of pairs: the victim."""

    command: ClassVar[str] = "finetune-attack"
    sources: ClassVar[tuple[str, ...]] = ("poison",)
    group: ClassVar[str] = "Attack"

    method: str = option(
        "ft", "--method", "Objective of the victim's training: ft, cleanclip and so on.", metavar="NAME"
    )
    terms: dict[str, Any] = option(
        None, "Changes to the objective's terms, by --set terms.ssl.weight=2.", factory=dict
    )
    model: ModelConfig = nested(ModelConfig, "Model")
    train: TrainConfig = nested(TrainConfig, "Training")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(RunConfig):
    """Make factual and counterfactual sub-captions of clean captions."""

    command: ClassVar[str] = "augment"
    sources: ClassVar[tuple[str, ...]] = ("poison",)
    group: ClassVar[str] = "Augment"

    data: str | None = pairs_option(None, shown="those of the newest poison run, else builtin")
    n: int | Literal["all"] = option("all", "--n", "Captions to draw, or all.", range=COUNT)
    subcaptions: SubcaptionConfig = nested(SubcaptionConfig, "Sub-captions")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")


@dataclass(frozen=True, kw_only=True)
class DefendConfig(RunConfig):
    """Fine-tune a suspect model on clean pairs so that the backdoor goes and the accuracy stays."""

    command: ClassVar[str] = "defend"
    sources: ClassVar[tuple[str, ...]] = ("finetune-attack",)
    group: ClassVar[str] = "Defence"

    method: str = option(
        "cleanerclip", "--method", "ft, ssl, cleanclip, cleanerclip, par or par-clean.", metavar="NAME"
    )
    n_aug: int = option(
        1000,
        "--n-aug",
        "Sub-captioned samples of each epoch; the paper takes 3000 against BadCLIP.",
        range=COUNT,
    )
    data: str | None = pairs_option(None, shown="those that the attack was made from")
    checkpoint: str | None = option(
        None, "--checkpoint", "Weights to clean in place of a run's.", metavar="FILE", shown="the run's"
    )
    augment_from: str | None = option(
        None,
        "--augment-from",
        "Augment run with the sub-captions.",
        metavar="RUN",
        shown="the newest of the same pairs, else made here",
    )
    exclude_manifest: str | None = excluded_run()
    num_samples: int | None = option(
        None,
        "--train-num-samples",
        "Pairs to draw from the data once, as a defender has fewer than the attacker.",
        range=COUNT,
        shown="all",
    )
    fc_schedule: Literal["interleave", "epoch-end", "in-batch"] = option(
        "interleave", "--fc-schedule", "Where the sub-captioned batches go in an epoch."
    )
    val_data: str | None = option(
        None,
        "--val-data",
        "Clean pairs, not trained on, that the training is watched on.",
        metavar="DATA",
        shown="the built-in eval split, those that --train-num-samples left out, else some of the training",
    )
    val_pairs: int = option(
        256, "--val-pairs", "So many of them, for rules that say when to stop; 0: none.", range=NATURAL
    )
    terms: dict[str, Any] = option(
        None, "Changes to the method's terms, by --set terms.ssl.weight=2.", factory=dict
    )
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    subcaptions: SubcaptionConfig = nested(SubcaptionConfig, "Sub-captions made here")
    train: TrainConfig = nested(defence_training, "Training")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")


COMMANDS: dict[str, type[RunConfig]] = {
    cls.command: cls
    for cls in (
        PoisonConfig,
        FinetuneAttackConfig,
        AugmentConfig,
        DefendConfig,
        EvaluateConfig,
        ReportConfig,
    )
}

__all__ = [
    "COMMANDS",
    "AugmentConfig",
    "Config",
    "DefendConfig",
    "EvaluateConfig",
    "FinetuneAttackConfig",
    "PoisonConfig",
    "ReportConfig",
]
