"""Configurations of the commands and how they are resolved."""

from clipdefend.config.commands import (
    COMMANDS,
    AugmentConfig,
    DefendConfig,
    EvaluateConfig,
    FinetuneAttackConfig,
    PoisonConfig,
    ReportConfig,
)
from clipdefend.config.fields import Config, Leaf, leaves
from clipdefend.config.gate_options import GatesConfig
from clipdefend.config.publish_options import PublishConfig
from clipdefend.config.resolve import load_config, preset_difference, to_dict, to_yaml
from clipdefend.config.shared import (
    ColumnsConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
    SubcaptionConfig,
    TrainConfig,
)

__all__ = [
    "COMMANDS",
    "AugmentConfig",
    "ColumnsConfig",
    "Config",
    "DefendConfig",
    "EvalConfig",
    "EvaluateConfig",
    "FinetuneAttackConfig",
    "GatesConfig",
    "Leaf",
    "ModelConfig",
    "PoisonConfig",
    "PublishConfig",
    "ReportConfig",
    "RunConfig",
    "SubcaptionConfig",
    "TrainConfig",
    "leaves",
    "load_config",
    "preset_difference",
    "to_dict",
    "to_yaml",
]
