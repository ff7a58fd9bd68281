# option() and nested() return dataclass fields
"""The configuration of ``report``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from clipdefend.config.fields import NATURAL, SHARE, Range, option
from clipdefend.config.model_options import device_option
from clipdefend.config.run_options import RunConfig


@dataclass(frozen=True, kw_only=True)
class ReportConfig(RunConfig):
    """Write tables, plots and one page about any number of runs, with where every number comes from."""

    command: ClassVar[str] = "report"
    many: ClassVar[bool] = True
    group: ClassVar[str] = "Report"

    embedding: Literal["pca", "tsne", "none"] = option(
        "pca", "--embedding", "Projection of the embedding maps: principal components, t-SNE, or none."
    )
    maps: int = option(4, "--maps", "Number of models to draw maps for, victims first.", range=NATURAL)
    map_images: int = option(
        150, "--map-images", "Number of images in each map.", range=Range(low=2, high=10_000)
    )
    ba_budget: float = option(
        0.02,
        "--ba-budget",
        "Largest loss of BA@1 that stopping rules and the region of success accept.",
        range=SHARE,
    )
    asr_limit: float = option(0.05, "--asr-limit", "Largest ASR@1 in the region of success.", range=SHARE)
    device: str = device_option()
