"""The last round of ``clean``: the chosen settings on the suspect itself, and what is measured before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.commands.clean.cleaning_rounds import Cleaning
from clipdefend.config import to_dict
from clipdefend.evaluation.flat_metrics import recovery
from clipdefend.evaluation.recorded_floor import floor_of_run
from clipdefend.evaluation.setting import EvaluationSetting
from clipdefend.inversion.scan_verdict import CLEAN
from clipdefend.runs import Run, ScanDetails
from clipdefend.study.carry_out import GOOD
from clipdefend.study.grid import Node

MILDER = (0.1, 0.25, 0.5, 0.75)
"""Shares of the cleaned weights that are tried where the scan calls the suspect clean and cleaning costs accuracy."""
MOST_LOST = 0.01
"""Clean accuracy that a suspect may lose which the scan calls clean."""


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
        return _verdict(self.scan)


@dataclass(frozen=True, kw_only=True)
class FinalRound:
    """The result: the run that trained, the run whose model it is, and what is known of the model before and after."""

    trained: Run
    cleaned: Run
    before: Measured
    after: Measured


def apply_choice(cleaning: Cleaning, planted: Node, reference: Path | None, classes: Path) -> FinalRound:
    """Clean the suspect by the chosen settings and measure it before and after.

    The true attack, where it is known, is measured here and nowhere before.

    Args:
        cleaning: with its choice made.
        planted: the copy with the canaries.
        reference: the scans' clean model.
        classes: file with the names among which scans look for targets.

    Raises:
        RunError: the cleaning failed, or a measurement of accuracy.
    """
    steps, attack = cleaning.steps, cleaning.found.attack
    truth = attack.run.path if attack else None
    whole = steps.cleaned(cleaning.chosen, cleaning.triggers)
    node = _share(cleaning, whole, cleaning.share, classes)
    before = steps.measure("the suspect", None, attack_from=truth)
    after = steps.measure("the cleaned model", node, attack_from=truth)
    cleaning.make("Clean the suspect", [whole, node, before, after])
    loss = cleaning.accuracy(before) - cleaning.accuracy(after)
    if loss > MOST_LOST and cleaning.share > min(MILDER) and _verdict(cleaning.scanned) == CLEAN:
        node = _milder(cleaning, whole, cleaning.accuracy(before), classes)
        title = "The canaries at the share that is kept"
        cleaning.merges |= cleaning.mixed(title, [cleaning.share], planted, classes)
        after = steps.measure("the cleaned model", node, attack_from=truth)
        cleaning.make("The share that is kept", [node, after])
    needed = {"before": before, "after": after}
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
        made = {name: cleaning.run(each) for name, each in extra.items() if outcomes[each.name] in GOOD}
    return FinalRound(
        trained=cleaning.run(whole),
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


def _verdict(scan: Run | None) -> str | None:
    return ScanDetails.of(scan).verdict if scan else None


def _share(cleaning: Cleaning, whole: Node, share: float, classes: Path) -> Node:
    """The cleaned model, or a share of it with the rest from the suspect."""
    return whole if share == 1 else cleaning.steps.merged(whole, share, cleaning.steps.suspect, classes)


def _milder(cleaning: Cleaning, whole: Node, accuracy: float, classes: Path) -> Node:
    """The largest share of the cleaned weights that loses little accuracy, for a suspect that the scan calls clean."""
    steps = cleaning.steps
    nodes = {share: _share(cleaning, whole, share, classes) for share in MILDER if share < cleaning.share}
    measured = {share: steps.measure(f"share {share:g}", node) for share, node in nodes.items()}
    cleaning.make(
        "Milder shares, since the scan calls the suspect clean", [*nodes.values(), *measured.values()]
    )
    kept = milder_share({share: cleaning.accuracy(each) for share, each in measured.items()}, accuracy)
    if accuracy - cleaning.accuracy(measured[kept]) > MOST_LOST:
        cleaning.context.console.warn(
            f"The scan calls the suspect clean, and every share of the cleaned weights loses more than"
            f" {100 * MOST_LOST:.0f} point of accuracy: consider keeping the suspect as it is."
        )
    cleaning.share = kept
    return nodes[kept]


def milder_share(accuracies: Mapping[float, float], accuracy: float) -> float:
    """Return the largest share that loses at most ``MOST_LOST``, otherwise the smallest.

    Args:
        accuracies: share -> clean accuracy, fractions.
        accuracy: of the suspect.
    """
    kept = [share for share, each in accuracies.items() if accuracy - each <= MOST_LOST + 1e-9]
    return max(kept, default=min(accuracies))


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
