"""The configuration of ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clipdefend.choices import CanvasMode
from clipdefend.config.data_options import ColumnsConfig
from clipdefend.config.evaluation_options import EvalConfig
from clipdefend.config.fields import nested, option
from clipdefend.config.gate_options import GatesConfig
from clipdefend.config.measure_options import DetectConfig, ProbeConfig, RetrievalConfig
from clipdefend.config.model_options import ModelConfig, device_option, input_model
from clipdefend.config.publish_options import PublishConfig
from clipdefend.config.run_options import RunConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Measure BA, ASR and RA of a model, with 95 % intervals, and compare them with bounds."""

    command: ClassVar[str] = "evaluate"
    data_key: ClassVar[str] = "eval.data"
    stand_ins: ClassVar[tuple[str, ...]] = ("checkpoint", "model.name")
    group: ClassVar[str] = "Evaluate"

    checkpoint: str | None = option(
        None,
        "--checkpoint",
        "Weights to evaluate instead of those of the input run.",
        metavar="FILE",
        shown="those of the run",
    )
    attack_from: str | None = option(
        None,
        "--attack-from",
        "Run whose trigger is used: of poison, or of scan.",
        metavar="RUN",
        shown="that of the run",
    )
    clean_checkpoint: str | None = option(
        None,
        "--clean-checkpoint",
        "Weights of a clean model, whose ASR is the floor.",
        metavar="FILE",
        shown="those that the attack started from",
    )
    target: str | None = option(
        None, "--target", "Target class.", metavar="CLASS", shown="that of the attack"
    )
    canvas: CanvasMode | None = option(
        None, "--canvas", "How images are made square: crop or squash.", shown="that of the attack"
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
    detect: DetectConfig = nested(DetectConfig, "Detection")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
    device: str = device_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gates.check_ks(self.eval.topk)
