"""What an evaluation writes for other people's tools."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.config.fields import Config, option


@dataclass(frozen=True, kw_only=True)
class PublishConfig(Config):
    """Results and images in CLIP_benchmark's formats."""

    clip_benchmark: str | None = option(
        None,
        "--clip-benchmark",
        "Write the results as JSON for clip_benchmark build.",
        metavar="FILE",
    )
    export: str | None = option(
        None,
        "--export",
        "Write the clean and the triggered images as data sets in CLIP_benchmark's layout.",
        metavar="DIR",
    )
