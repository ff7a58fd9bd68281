"""Finds the clean model's metrics that an attack recorded for its initial weights."""

from __future__ import annotations

from clipdefend.evaluation.flat_metrics import select_prefix
from clipdefend.evaluation.setting import EvaluationSetting, find_trigger_run
from clipdefend.runs import Run


def floor_of_run(source: Run | None, setting: EvaluationSetting) -> dict[str, float]:
    """Return the flat metrics of the clean model under the trigger.

    Args:
        source: the run whose model is evaluated or defended; None if there is none.
        setting: setting of the figures to compare with; only comparable metrics are returned.
    """
    victim = source.find_ancestor("finetune-attack") if source else None
    if victim is None:
        return {}
    theirs = EvaluationSetting.of(victim, find_trigger_run(victim))
    return setting.comparable(theirs, select_prefix(victim.metrics, "floor_"))
