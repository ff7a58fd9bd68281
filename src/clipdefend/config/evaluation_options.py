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
    asr_protocol: AsrProtocol = option(
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
