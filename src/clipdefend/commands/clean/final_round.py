"""The last round of ``clean``: the chosen settings on the suspect itself, and what is measured before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.commands.clean.cleaning_rounds import Cleaning
from clipdefend.config import to_dict
from clipdefend.evaluation.flat_metrics import recovery
from clipdefend.evaluation.recorded_floor import floor_of_run
from clipdefend.evaluation.setting import EvaluationSetting
from clipdefend.runs import Run, ScanDetails
from clipdefend.study.grid import Node


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a model, before or after.

    Attributes:
        metrics: flat metrics; ASR, RA and recovery only where the true trigger is known.
        inverted_asr: ASR@1 of the trigger that the scan found in the suspect; None without a scan.
        scan: the scan of the model; None without one.
    """

    metrics: dict[str, float]
    inverted_asr: float | None = None
    scan: Run | None = None

    @property
    def verdict(self) -> str | None:
        return ScanDetails.of(self.scan).verdict if self.scan else None


@dataclass(frozen=True, kw_only=True)
class FinalRound:
    """The cleaned model's run, and what is known of the suspect and of the cleaned model."""

    cleaned: Run
    before: Measured
    after: Measured


def apply_choice(cleaning: Cleaning, reference: Path | None, classes: Path) -> FinalRound:
    """Clean the suspect by the chosen settings and measure it before and after.

    The true attack, where it is known, is measured here and nowhere before.

    Args:
        cleaning: with its choice made.
        reference: the scans' clean model.
        classes: file with the names among which scans look for targets.

    Raises:
        RunError: the cleaning failed, or a measurement of accuracy.
    """
    steps, attack = cleaning.steps, cleaning.found.attack
    node = steps.cleaned(cleaning.chosen)
    truth = attack.run.path if attack else None
    needed = {
        "before": steps.measure("the suspect", None, attack_from=truth),
        "after": steps.measure("the cleaned model", node, attack_from=truth),
    }
    cleaning.make("Clean the suspect", [node, *needed.values()])
    extra: dict[str, Node] = {}
    if cleaning.scanned is not None:
        extra["scan"] = steps.scan("the cleaned model", node, reference, classes)
        found = ScanDetails.of(cleaning.scanned)
        if found.trigger is not None and cleaning.found.labelled:
            place = cleaning.scanned.path
            for name, model, what in (
                ("inverted before", None, "suspect"),
                ("inverted after", node, "cleaned model"),
            ):
                title = f"the {what} under the trigger that was found in the suspect"
                extra[name] = steps.measure(title, model, attack_from=place, quick=True)
    made: dict[str, Run] = {}
    if extra:
        outcomes = cleaning.make("Evidence", list(extra.values()), needed=False)
        made = {
            name: cleaning.run(each)
            for name, each in extra.items()
            if outcomes[each.name] in ("there", "made")
        }
    return FinalRound(
        cleaned=cleaning.run(node),
        before=Measured(
            metrics=_with_recovery(cleaning, cleaning.run(needed["before"])),
            inverted_asr=_asr(made.get("inverted before")),
            scan=cleaning.scanned,
        ),
        after=Measured(
            metrics=_with_recovery(cleaning, cleaning.run(needed["after"])),
            inverted_asr=_asr(made.get("inverted after")),
            scan=made.get("scan"),
        ),
    )


def _asr(run: Run | None) -> float | None:
    return run.metrics.get("asr@1") if run else None


def _with_recovery(cleaning: Cleaning, evaluation: Run) -> dict[str, Any]:
    """The metrics of an evaluation, with recovery where the attack run recorded its clean model's."""
    metrics, attack = evaluation.metrics, cleaning.found.attack
    if attack is None or not cleaning.found.labelled:
        return metrics
    setting = EvaluationSetting.from_config(
        {**to_dict(cleaning.config.eval), "quick": None},
        canvas=cleaning.found.canvas.mode,
        target=attack.target,
        poison=attack.run,
    )
    return metrics | recovery(metrics, floor_of_run(cleaning.found.source, setting.with_counts(metrics)))
