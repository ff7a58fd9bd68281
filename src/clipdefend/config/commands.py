"""The table of commands.

The defaults of each stand in its own file, ``COMMAND_config.py``, and those that commands share in
``*_options.py``. ``presets`` changes some of them for the built-in world.
"""

from __future__ import annotations

from clipdefend.config.augment_config import AugmentConfig
from clipdefend.config.clean_config import CleanConfig
from clipdefend.config.defend_config import DefendConfig
from clipdefend.config.evaluate_config import EvaluateConfig
from clipdefend.config.export_config import ExportConfig
from clipdefend.config.filter_config import FilterConfig
from clipdefend.config.finetune_attack_config import FinetuneAttackConfig
from clipdefend.config.merge_config import MergeConfig
from clipdefend.config.poison_config import PoisonConfig
from clipdefend.config.report_config import ReportConfig
from clipdefend.config.run_options import RunConfig
from clipdefend.config.scan_config import ScanConfig
from clipdefend.config.study_config import StudyConfig

COMMANDS: dict[str, type[RunConfig]] = {
    cls.command: cls
    for cls in (
        PoisonConfig,
        FinetuneAttackConfig,
        FilterConfig,
        AugmentConfig,
        DefendConfig,
        MergeConfig,
        CleanConfig,
        ScanConfig,
        EvaluateConfig,
        ExportConfig,
        ReportConfig,
        StudyConfig,
    )
}
