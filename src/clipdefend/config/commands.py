# ruff: noqa: RUF009  # option() and nested() return dataclass fields
"""The commands' configurations. Every default stands here or in ``shared``, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from clipdefend.config.fields import Config, Range, nested, option
from clipdefend.config.measured import ProbeConfig, RetrievalConfig
from clipdefend.config.shared import (
    COUNT,
    NATURAL,
    SHARE,
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
    image_size: int = option(
        224, "--image-size", "Pixels of the canvas, the model's input size.", range=Range(low=8, high=4096)
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

    method: str = option("cleanerclip", "--method", "ft, ssl, cleanclip, cleanerclip or par.", metavar="NAME")
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


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Measure BA, ASR and RA of a model, with 95 % intervals, and compare them with bounds."""

    command: ClassVar[str] = "evaluate"
    sources: ClassVar[tuple[str, ...]] = ("defend", "finetune-attack")
    data_key: ClassVar[str] = "eval.data"
    group: ClassVar[str] = "Evaluate"

    checkpoint: str | None = option(
        None, "--checkpoint", "Weights to measure in place of a run's.", metavar="FILE", shown="the run's"
    )
    attack_from: str | None = option(
        None, "--attack-from", "Poison run with the trigger.", metavar="RUN", shown="the run's own"
    )
    clean_checkpoint: str | None = option(
        None,
        "--clean-checkpoint",
        "Clean weights, whose ASR is the floor.",
        metavar="FILE",
        shown="those that the attack began with",
    )
    target: str | None = option(None, "--target", "Target class.", metavar="CLASS", shown="the attack's")
    canvas: Literal["crop", "squash"] | None = option(
        None, "--canvas", "Geometry of the images.", shown="the attack's"
    )
    max_asr: float | None = option(None, "--max-asr", "Gate: exit code 3 when ASR@1 is above.", range=SHARE)
    min_ba: float | None = option(None, "--min-ba", "Gate: exit code 3 when BA@1 is below.", range=SHARE)
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    eval: EvalConfig = nested(
        EvalConfig,
        "Labelled images",
        flags={"batch_size": ("--batch-size", "--eval-batch-size"), "quick": ("--quick", "--eval-quick")},
    )
    probe: ProbeConfig = nested(ProbeConfig, "Linear probe")
    retrieval: RetrievalConfig = nested(RetrievalConfig, "Retrieval")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
    device: str = device_option()


@dataclass(frozen=True, kw_only=True)
class ReportConfig(RunConfig):
    """Write tables, plots and one page about any number of runs, with where every number comes from."""

    command: ClassVar[str] = "report"
    many: ClassVar[bool] = True
    group: ClassVar[str] = "Report"

    embedding: Literal["pca", "tsne", "none"] = option(
        "pca", "--embedding", "Embedding maps by principal components or t-SNE, or none."
    )
    maps: int = option(4, "--maps", "Models to draw a map of, victims first.", range=NATURAL)
    map_images: int = option(150, "--map-images", "Images of a map.", range=Range(low=2, high=10_000))
    ba_budget: float = option(
        0.02, "--ba-budget", "Loss of BA@1 that the stopping rules may allow.", range=SHARE
    )
    device: str = device_option()


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
