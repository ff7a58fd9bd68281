"""What ``evaluate`` can measure besides zero-shot classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clipdefend.config.fields import COUNT, NATURAL, POSITIVE, Config, Range, option


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Config):
    """A linear probe on the frozen image tower."""

    data: str | None = option(
        None,
        "--linear-probe",
        "Labelled images for a linear probe: CIFAR10, DTD, and so on, or anything --eval-data takes.",
        metavar="DATA",
    )
    train: str | None = option(
        None,
        "--probe-train",
        "Training images of the probe where the data is a test set only.",
        metavar="DATA",
        shown="those of the data",
    )
    root: str | None = option(
        None, "--probe-root", "Folder of torchvision data sets.", metavar="DIR", shown="--eval-root"
    )
    protocol: Literal["logistic", "cleanclip"] = option(
        "logistic",
        "--probe-protocol",
        "Logistic regression with a sweep over L2, or CleanCLIP's linear layer trained with AdamW.",
    )
    samples: int | None = option(
        None,
        "--probe-samples",
        "Number of training images, sampled evenly from the classes.",
        range=COUNT,
        metavar="N",
        shown="all, or 50,000 for ImageNet",
    )
    lr: float = option(0.005, "Learning rate of the cleanclip protocol.", range=POSITIVE)
    epochs: int = option(10, "Epochs of the cleanclip protocol.", range=COUNT)
    batch_size: int = option(128, "Batch size of the cleanclip protocol.", range=COUNT)
    weight_decay: float = option(0.01, "Weight decay of the cleanclip protocol.", range=NATURAL)


@dataclass(frozen=True, kw_only=True)
class DetectConfig(Config):
    """Telling triggered images from clean ones at test time."""

    scores: tuple[str, ...] | None = option(
        None,
        "--detect",
        "Detectors of triggered images: bdetclip, lorex, strip; AUROC of triggered against clean images.",
        metavar="NAME,NAME",
    )
    images: int = option(
        500,
        "--detect-images",
        "Number of labelled images that detectors judge, with and without the trigger; as many are known as clean.",
        range=Range(low=2),
    )


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(Config):
    """Retrieval among image-caption pairs."""

    data: str | None = option(
        None,
        "--retrieval",
        "Image-caption pairs for retrieval, R@k in both directions; rows with the same image are its captions.",
        metavar="DATA",
    )
    exclude: str | None = option(
        None,
        "--retrieval-exclude",
        "Run whose flagged rows are left out of these pairs.",
        metavar="RUN",
    )
