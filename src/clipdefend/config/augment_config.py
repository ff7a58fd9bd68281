"""The configuration of ``augment``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from clipdefend.config.data_options import ColumnsConfig, pairs_option
from clipdefend.config.fields import COUNT, nested, option
from clipdefend.config.run_options import RunConfig
from clipdefend.config.subcaption_options import SubcaptionConfig


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(RunConfig):
    """Make factual and counterfactual sub-captions of clean captions."""

    command: ClassVar[str] = "augment"
    group: ClassVar[str] = "Augment"

    data: str | None = pairs_option(None, shown="those of the newest poison run, else builtin")
    n: int | Literal["all"] = option("all", "--n", "Number of captions to sample, or all.", range=COUNT)
    subcaptions: SubcaptionConfig = nested(SubcaptionConfig, "Sub-captions")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
