"""Configurations that several commands have in common."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from clipdefend.config.fields import Config, Range, option

COUNT = Range(low=1)
NATURAL = Range(low=0)
POSITIVE = Range(above=0)
SHARE = Range(low=0, high=1)


def default_workers() -> int:
    """Cores that this process may use, less one for the training itself; between 0 and 4."""
    count = getattr(os, "sched_getaffinity", None)
    cores = len(count(0)) if count else os.cpu_count() or 1
    return max(0, min(4, cores - 1))


def device_option() -> Any:
    """Where the model runs; a dataclass field."""
    return option("auto", "--device", "auto, cpu, cuda, cuda:1 and so on.", metavar="NAME")


def excluded_run() -> Any:
    """The poison run whose rows a command keeps clear of; a dataclass field."""
    return option(
        None,
        "--exclude-manifest",
        "Poison run whose poisoned rows are left out.",
        metavar="RUN",
        shown="none",
    )


def pairs_option(default: str | None, shown: str | None = None) -> Any:
    """The clean pairs of a command; a dataclass field."""
    return option(
        default,
        "--data",
        "--train-data",
        "Clean pairs: a table, a folder, tar shards or builtin.",
        metavar="DATA",
        shown=shown,
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """What every command has.

    ``sources`` are the kinds of its one input run; ``many`` is set where it reads any number of any kind.
    """

    command: ClassVar[str]
    group: ClassVar[str]
    sources: ClassVar[tuple[str, ...]] = ()
    many: ClassVar[bool] = False
    exclusive: ClassVar[tuple[str, ...]] = ()
    data_key: ClassVar[str] = "data"

    preset: Literal["paper", "quick"] = option(
        "paper",
        "--preset",
        "Set of defaults: the papers' numbers, or quick ones for the built-in world.",
        shown="quick with built-in data, else paper",
        group="Run",
    )
    seed: int = option(
        0, "--seed", "Seed of every random draw.", range=Range(low=0, high=2**63 - 1), group="Run"
    )
    workers: int = option(
        None,
        "--workers",
        "Processes that read and decode images.",
        factory=default_workers,
        shown="cores - 1, at most 4",
        range=Range(low=0, high=512),
        group="Run",
    )
    max_bad: float = option(
        0.01,
        "--max-bad",
        "Largest share of bad rows or images let pass.",
        range=SHARE,
        group="Run",
    )


@dataclass(frozen=True, kw_only=True)
class ColumnsConfig(Config):
    """How a table of pairs is read; whatever is null is recognised and printed."""

    image_key: str | None = option(
        None, "--csv-img-key", "--image-key", "Column of image paths.", metavar="NAME", shown="recognised"
    )
    caption_key: str | None = option(
        None, "--csv-caption-key", "--caption-key", "Column of captions.", metavar="NAME", shown="recognised"
    )
    delimiter: str | None = option(
        None,
        "--csv-separator",
        "--delimiter",
        "Delimiter of the table; tab for a tab character.",
        metavar="CHAR",
        shown="recognised",
    )
    image_root: str | None = option(
        None,
        "--image-root",
        "Folder that the image paths may lie in.",
        metavar="DIR",
        shown="the table's",
    )

    def __post_init__(self) -> None:
        # A tab is hard to type in a shell and is trimmed by some; open_clip's users write \t.
        if self.delimiter in ("tab", "\\t"):
            object.__setattr__(self, "delimiter", "\t")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """The open_clip model that is started from; null: what the input run's model says."""

    name: str | None = option(
        "RN50", "--model", "open_clip model name, tiny, local-dir:DIR or hf-hub:NAME.", metavar="NAME"
    )
    pretrained: str | None = option(
        None,
        "--pretrained",
        "Tag or file of its weights, or none for random weights.",
        metavar="TAG",
        shown="the model's own, else openai",
    )


def input_model() -> ModelConfig:
    """The model of the input run, unless flags name another."""
    return ModelConfig(name=None, pretrained=None)


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Config):
    """Labelled images for BA, ASR and RA."""

    data: str | None = option(
        None,
        "--eval-data",
        "Labelled images: folder, labels.csv, torchvision:NAME, builtin.",
        metavar="DATA",
    )
    root: str | None = option(None, "--eval-root", "Where a torchvision data set lies.", metavar="DIR")
    download: bool = option(False, "--download", "Let torchvision fetch a data set that is not there.")
    split: str | None = option(
        None, "--eval-split", "Split of a data set that has several.", metavar="NAME", shown="its test split"
    )
    class_names: str | None = option(
        None, "--class-names", "JSON or text file of class names.", metavar="FILE", shown="the data's"
    )
    templates: str | None = option(
        None,
        "--templates",
        "Prompts: imagenet, simple, builtin, or a JSON or text file with {} or {c}.",
        metavar="SET",
        shown="the data's, else imagenet",
    )
    topk: tuple[int, ...] = option((1, 3, 5, 10), "--topk", "The k of BA@k, ASR@k and RA@k.", range=COUNT)
    asr_protocol: Literal["exclude-target", "all"] = option(
        "exclude-target",
        "--asr-protocol",
        "Count ASR without the target's own images, or over all as BadCLIP did.",
    )
    batch_size: int = option(256, "--eval-batch-size", "Images per step of an evaluation.", range=COUNT)
    quick: int | None = option(
        None,
        "--eval-quick",
        "Images of a fixed subset that is measured between epochs; the first and last measurement are full.",
        range=COUNT,
        metavar="N",
        shown="all",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "topk", tuple(sorted(set(self.topk))))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class SubcaptionConfig(Config):
    """How factual and counterfactual sub-captions are made."""

    lexicon: str | None = option(
        None,
        "--lexicon",
        "Folder of nouns, adjectives, relations.",
        metavar="DIR",
        shown="the shipped one",
    )
    source: Literal["scene-graph", "eda", "spans"] = option(
        "scene-graph", "--source", "What sub-captions are made from; the latter two are ablations."
    )
    relations: int = option(1, "--relations", "Relations taken from a caption.", range=COUNT)
    counterfactuals: int = option(1, "--counterfactuals", "Counterfactuals to a factual.", range=COUNT)
    keep_adjectives: float = option(
        0.5, "Chance of each adjective to stay in a factual sub-caption.", range=SHARE
    )
    operations: tuple[Literal["adjective", "relation", "noun"], ...] = option(
        ("adjective", "relation", "noun"), "What a counterfactual may replace; one is drawn at random."
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """One training run, as attack and as defence. The defaults are the attack's of the CleanerCLIP paper."""

    batch_size: int = option(128, "--batch-size", "Pairs per process and micro-batch.", range=COUNT)
    epochs: int = option(5, "--epochs", "Passes over the pairs.", range=COUNT)
    lr: float = option(
        1e-5,
        "--lr",
        "Peak learning rate. On OpenAI's RN50 1e-6 plants no backdoor and 1e-5 does (CleanCLIP issue 3);"
        " 4.5e-6 removes one (BadCLIP's README).",
        range=POSITIVE,
    )
    wd: float = option(0.1, "--wd", "--weight-decay", "Weight decay of AdamW.", range=NATURAL)
    beta1: float = option(0.9, "--beta1", "First beta of AdamW.", range=Range(low=0, below=1))
    beta2: float = option(0.999, "--beta2", "Second beta of AdamW.", range=Range(low=0, below=1))
    eps: float = option(1e-8, "--eps", "Epsilon of AdamW.", range=POSITIVE)
    warmup: int = option(
        10_000, "--warmup", "--num-warmup-steps", "Steps of linear warm-up, as in the paper.", range=NATURAL
    )
    lr_scheduler: Literal["cosine", "const", "cleanclip-compat"] = option(
        "cosine",
        "--lr-scheduler",
        "Learning rate after the warm-up; cleanclip-compat repeats CleanCLIP's curve, one epoch ahead.",
    )
    grad_clip: float | None = option(
        None, "--grad-clip-norm", "Largest norm of the gradient.", range=POSITIVE, shown="none"
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "--precision", "Arithmetic of forward passes."
    )
    batch_norm: Literal["train", "eval"] = option(
        "train", "--batch-norm", "Update batch-norm statistics, or leave them as loaded."
    )
    save_every: int = option(
        0, "--save-every", "Steps between two resume states; 0: only after each epoch.", range=NATURAL
    )
    keep_state: bool = option(False, "--keep-state", "Keep the resume state of a finished run.")
    resume: str | None = option(
        None, "--resume", "Continue an unfinished run: its folder, or latest.", metavar="RUN", shown="none"
    )
    log_every: int = option(
        10, "--log-every", "--log-every-n-steps", "Steps between logged lines.", range=COUNT
    )
    eval_every: int = option(
        1,
        "--eval-every",
        "--zeroshot-frequency",
        "Epochs between evaluations; 0: at no time.",
        range=NATURAL,
    )
    accum_freq: int = option(
        1,
        "--accum-freq",
        "Micro-batches of a step: exact gradients of the whole batch in the memory of one.",
        range=COUNT,
    )
    grad_checkpointing: bool = option(False, "--grad-checkpointing", "Trade time for memory.")
    compile: bool = option(
        False, "--compile", "Compile the towers with torch.compile: slow to begin, faster then."
    )
    lock_image: bool = option(False, "--lock-image", "Keep the image tower as it is.")
    lock_text: bool = option(False, "--lock-text", "Keep the text tower as it is.")
    report_to: str = option(
        "none",
        "--report-to",
        "Trackers beside metrics.jsonl, comma-separated: tensorboard, wandb and all that Accelerate knows.",
        metavar="NAMES",
    )
    device: str = device_option()


def defence_training() -> TrainConfig:
    """The defence's defaults of the CleanerCLIP paper; its learning rate from BadCLIP's README."""
    return TrainConfig(batch_size=64, epochs=10, lr=4.5e-6)
