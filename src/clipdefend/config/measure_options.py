"""What ``evaluate`` can measure besides zero-shot classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clipdefend.config.fields import COUNT, NATURAL, POSITIVE, Config, option


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Config):
    """A linear probe on the frozen image tower."""

    data: str | None = option(
        None,
        "--linear-probe",
        "Labelled images for a linear probe: CIFAR10, DTD and so on, or as for --eval-data.",
        metavar="DATA",
        shown="none",
    )
    train: str | None = option(
        None,
        "--probe-train",
        "Training images where the data are the test alone.",
        metavar="DATA",
        shown="the data's",
    )
    root: str | None = option(
        None, "--probe-root", "Where torchvision's sets lie.", metavar="DIR", shown="--eval-root"
    )
    protocol: Literal["logistic", "cleanclip"] = option(
        "logistic",
        "--probe-protocol",
        "Logistic regression with an L2 sweep, or CleanCLIP's linear layer by AdamW.",
    )
    samples: int | None = option(
        None,
        "--probe-samples",
        "Training images, drawn class by class.",
        range=COUNT,
        metavar="N",
        shown="all; 50,000 of ImageNet's",
    )
    lr: float = option(0.005, "Learning rate of the protocol cleanclip.", range=POSITIVE)
    epochs: int = option(10, "Epochs of the protocol cleanclip.", range=COUNT)
    batch_size: int = option(128, "Batch size of the protocol cleanclip.", range=COUNT)
    weight_decay: float = option(0.01, "Weight decay of the protocol cleanclip.", range=NATURAL)


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(Config):
    """Retrieval among image-caption pairs."""

    data: str | None = option(
        None,
        "--retrieval",
        "Image-caption pairs for R@k both ways; rows of one image are its captions.",
        metavar="DATA",
        shown="none",
    )
