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
        "pca", "--embedding", "Embedding maps by principal components or t-SNE, or none."
    )
    maps: int = option(4, "--maps", "Models to draw a map of, victims first.", range=NATURAL)
    map_images: int = option(150, "--map-images", "Images of a map.", range=Range(low=2, high=10_000))
    ba_budget: float = option(
        0.02, "--ba-budget", "Loss of BA@1 that the stopping rules may allow.", range=SHARE
    )
    device: str = device_option()
