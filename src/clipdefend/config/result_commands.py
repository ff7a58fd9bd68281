# ruff: noqa: RUF009  # option() and nested() return dataclass fields
"""The configurations of the commands that look at results: ``evaluate`` and ``report``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from clipdefend.config.extra_measures import ProbeConfig, RetrievalConfig
from clipdefend.config.fields import Range, nested, option
from clipdefend.config.gate_options import GatesConfig
from clipdefend.config.publish_options import PublishConfig
from clipdefend.config.shared import (
    NATURAL,
    SHARE,
    ColumnsConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
    device_option,
    input_model,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Measure BA, ASR and RA of a model, with 95 % intervals, and compare them with bounds."""

    command: ClassVar[str] = "evaluate"
    sources: ClassVar[tuple[str, ...]] = ("defend", "finetune-attack")
    data_key: ClassVar[str] = "eval.data"
    group: ClassVar[str] = "Evaluate"

    checkpoint: str | None = option(
        None, "--checkpoint", "Weights to measure in place of a run's.", metavar="FILE", shown="the run's"
    )
    attack_from: str | None = option(
        None, "--attack-from", "Poison run with the trigger.", metavar="RUN", shown="the run's own"
    )
    clean_checkpoint: str | None = option(
        None,
        "--clean-checkpoint",
        "Clean weights, whose ASR is the floor.",
        metavar="FILE",
        shown="those that the attack began with",
    )
    target: str | None = option(None, "--target", "Target class.", metavar="CLASS", shown="the attack's")
    canvas: Literal["crop", "squash"] | None = option(
        None, "--canvas", "Geometry of the images.", shown="the attack's"
    )
    gates: GatesConfig = nested(GatesConfig, "Gates for pipelines")
    publish: PublishConfig = nested(PublishConfig, "For other tools")
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    eval: EvalConfig = nested(
        EvalConfig,
        "Labelled images",
        flags={"batch_size": ("--batch-size", "--eval-batch-size"), "quick": ("--quick", "--eval-quick")},
    )
    probe: ProbeConfig = nested(ProbeConfig, "Linear probe")
    retrieval: RetrievalConfig = nested(RetrievalConfig, "Retrieval")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
    device: str = device_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gates.check_ks(self.eval.topk)


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
