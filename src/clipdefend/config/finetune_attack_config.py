"""The configuration of ``finetune-attack``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from clipdefend.config.conditions import parse_conditions
from clipdefend.config.data_options import excluded_run
from clipdefend.config.evaluation_options import EvalConfig
from clipdefend.config.fields import nested, option
from clipdefend.config.model_options import ModelConfig
from clipdefend.config.run_options import RunConfig
from clipdefend.config.training_options import TrainConfig
from clipdefend.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FinetuneAttackConfig(RunConfig):
    """Train a model on a poisoned set of pairs: the victim."""

    command: ClassVar[str] = "finetune-attack"
    group: ClassVar[str] = "Attack"

    method: str = option("ft", "--method", "Training objective: ft, cleanclip, and so on.", metavar="NAME")
    terms: dict[str, Any] = option(
        None, "Changes to the objective's terms, as in --set terms.ssl.weight=2.", factory=dict
    )
    defence: dict[str, Any] = option(
        None, "Parameters of a defence that has its own, by --set defence.KEY=VALUE.", factory=dict
    )
    also_poison: tuple[str, ...] | None = option(
        None,
        "--also-poison",
        "Further poison runs of the same clean pairs, whose poisoned pairs are trained on as well: several backdoors in"
        " one model.",
        metavar="RUN,RUN",
    )
    exclude_manifest: str | None = excluded_run()
    accept: str | None = option(
        None,
        "--accept",
        "Exit with code 3 unless the finished victim meets these bounds, as in asr@1>=0.9,ba@1>=0.55.",
        metavar="METRIC>=X,...",
    )
    model: ModelConfig = nested(ModelConfig, "Model")
    train: TrainConfig = nested(TrainConfig, "Training")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")

    def __post_init__(self) -> None:
        super().__post_init__()
        if parse_conditions(self.accept, "--accept") and not self.train.eval_every:
            raise ConfigError("--accept needs evaluations, which --eval-every 0 turns off.")
