"""The labelled images of an evaluation and how they are counted."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.choices import AsrProtocol
from clipdefend.config.fields import COUNT, Config, option


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Config):
    """Labelled images for BA, ASR and RA."""

    data: str | None = option(
        None,
        "--eval-data",
        "Labelled images: a folder, labels.csv, tar shards, torchvision:NAME, or builtin.",
        metavar="DATA",
    )
    root: str | None = option(
        None, "--eval-root", "Folder of torchvision data sets, or of linked images.", metavar="DIR"
    )
    download: bool = option(False, "--download", "Let torchvision download a missing data set.")
    split: str | None = option(
        None,
        "--eval-split",
        "Split to use where the data set has several.",
        metavar="NAME",
        shown="its test split",
    )
    class_names: str | None = option(
        None,
        "--class-names",
        "JSON or text file with the class names.",
        metavar="FILE",
        shown="those of the data",
    )
    templates: str | None = option(
        None,
        "--templates",
        "Prompts: imagenet, simple, builtin, or a JSON or text file in which {} or {c} stands for the class.",
        metavar="SET",
        shown="those of the data, otherwise imagenet",
    )
    topk: tuple[int, ...] = option(
        (1, 3, 5, 10), "--topk", "Values of k for BA@k, ASR@k and RA@k.", range=COUNT
    )
    asr_protocol: AsrProtocol = option(
        "exclude-target",
        "--asr-protocol",
        "Images that ASR counts: all but the target's own, or all, as BadCLIP did.",
    )
    batch_size: int = option(256, "--eval-batch-size", "Batch size of evaluations.", range=COUNT)
    quick: int | None = option(
        None,
        "--eval-quick",
        "Evaluate a fixed subset of N images between epochs; the first and the last evaluation use all.",
        range=COUNT,
        metavar="N",
        shown="all",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "topk", tuple(sorted(set(self.topk))))
        super().__post_init__()
