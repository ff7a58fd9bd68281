"""Configurations of the commands and how they are resolved."""

from clipdefend.config.augment_config import AugmentConfig
from clipdefend.config.clean_config import CanaryConfig, ChoiceConfig, CleanConfig
from clipdefend.config.commands import COMMANDS
from clipdefend.config.data_options import ColumnsConfig
from clipdefend.config.defend_config import DefendConfig
from clipdefend.config.evaluate_config import EvaluateConfig
from clipdefend.config.evaluation_options import EvalConfig
from clipdefend.config.export_config import ExportConfig
from clipdefend.config.fields import Config, Leaf, leaves
from clipdefend.config.filter_config import FilterConfig
from clipdefend.config.finetune_attack_config import FinetuneAttackConfig
from clipdefend.config.gate_options import GatesConfig
from clipdefend.config.kinds import KINDS, ROWS, Kind, kind_of, leading_to, offering
from clipdefend.config.merge_config import MergeConfig, ProxyConfig
from clipdefend.config.model_options import ModelConfig
from clipdefend.config.poison_config import PoisonConfig
from clipdefend.config.publish_options import PublishConfig
from clipdefend.config.report_config import ReportConfig
from clipdefend.config.resolve import load_config
from clipdefend.config.run_options import RunConfig
from clipdefend.config.scan_config import ScanConfig, SearchConfig, ThresholdsConfig, VerdictGateConfig
from clipdefend.config.serialize import preset_difference, to_dict, to_yaml
from clipdefend.config.study_config import StudyConfig
from clipdefend.config.subcaption_options import SubcaptionConfig
from clipdefend.config.training_options import TrainConfig

__all__ = [
    "COMMANDS",
    "KINDS",
    "ROWS",
    "AugmentConfig",
    "CanaryConfig",
    "ChoiceConfig",
    "CleanConfig",
    "ColumnsConfig",
    "Config",
    "DefendConfig",
    "EvalConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FilterConfig",
    "FinetuneAttackConfig",
    "GatesConfig",
    "Kind",
    "Leaf",
    "MergeConfig",
    "ModelConfig",
    "PoisonConfig",
    "ProxyConfig",
    "PublishConfig",
    "ReportConfig",
    "RunConfig",
    "ScanConfig",
    "SearchConfig",
    "StudyConfig",
    "SubcaptionConfig",
    "ThresholdsConfig",
    "TrainConfig",
    "VerdictGateConfig",
    "kind_of",
    "leading_to",
    "leaves",
    "load_config",
    "offering",
    "preset_difference",
    "to_dict",
    "to_yaml",
]
