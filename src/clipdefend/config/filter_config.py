"""The configuration of ``filter``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clipdefend.choices import CanvasMode
from clipdefend.config.data_options import ColumnsConfig, pairs_option
from clipdefend.config.fields import COUNT, Range, nested, option
from clipdefend.config.model_options import ModelConfig, device_option, input_model
from clipdefend.config.run_options import RunConfig
from clipdefend.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FilterConfig(RunConfig):
    """Score image-caption pairs by how suspicious they are, and flag the most suspicious ones."""

    command: ClassVar[str] = "filter"
    group: ClassVar[str] = "Filter"
    exclusive: ClassVar[tuple[str, ...]] = ("keep", "threshold")

    data: str | None = pairs_option(
        None, shown="those that the input run was trained on", what="Image-caption pairs to judge"
    )
    checkpoint: str | None = option(
        None,
        "--checkpoint",
        "Weights of a model that was trained on the pairs.",
        metavar="FILE",
        shown="those of the run",
    )
    scores: tuple[str, ...] = option(
        ("dao", "slof", "kdist", "lid", "clipscore", "loss"),
        "--scores",
        "Scores to compute (dao, slof, kdist, lid, lorex, clipscore, loss); the first decides which pairs are flagged.",
        metavar="NAME,NAME",
    )
    keep: float | None = option(
        0.99,
        "--keep",
        "Share of the pairs to keep; the pairs with the largest scores are flagged.",
        range=Range(above=0, high=1),
    )
    threshold: float | None = option(
        None, "--threshold", "Flag the pairs whose score is larger, instead of a fixed share.", metavar="X"
    )
    trusted: str | None = option(
        None,
        "--trusted",
        "Pairs from the same source that are known to be clean; lorex needs them. Flags of tables hold for these, too.",
        metavar="DATA",
    )
    reference: str | None = option(
        None,
        "--reference",
        "Clean model of the same architecture for clipscore: a run, a file, local-dir:DIR, an open_clip tag, or"
        " builtin.",
        metavar="MODEL",
    )
    neighbours: int = option(
        16,
        "--neighbours",
        "Number of nearest neighbours that dao, slof, kdist and lid use.",
        range=Range(low=2),
    )
    pool: int = option(
        2048,
        "--pool",
        "Number of pairs, drawn at random, among which neighbours are searched.",
        range=Range(low=3, high=65_536),
    )
    batch_size: int = option(256, "--batch-size", "Number of images embedded at once.", range=COUNT)
    canvas: CanvasMode | None = option(
        None, "--canvas", "How images are made square: crop or squash.", shown="as in training"
    )
    keep_embeddings: bool = option(
        True,
        "--keep-embeddings",
        "Keep the embeddings beside the runs, to compute other scores or to continue after an interruption.",
    )
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
    device: str = device_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.keep is None) == (self.threshold is None):
            raise ConfigError(
                f"keep is {self.keep} and threshold is {self.threshold}; give one and set the other to null."
            )
