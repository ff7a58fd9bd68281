"""What ``clean`` ends in: metrics, the record in the manifest, the page and the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.commands.clean.cleaning_rounds import Cleaning
from clipdefend.commands.clean.cleaning_rule import mean_asr, mean_recovery
from clipdefend.commands.clean.final_round import FinalRound, Measured
from clipdefend.console import Console
from clipdefend.report.cleaning_page import CleaningPage, chosen_words, render_cleaning
from clipdefend.report.escape import percent
from clipdefend.runs import CanvasRecord, CleanDetails, Run, ScanDetails, TrainingDetails, atomic_write

PAGE = "index.html"


@dataclass(frozen=True, kw_only=True)
class CleanResult:
    """The result.

    Attributes:
        cleaned: the run that cleaned the suspect.
        metrics, details: of the manifest.
        facts: label, before and after of each fact, as texts.
        unknown: what remains unknown, a sentence each.
    """

    cleaned: Run
    metrics: dict[str, Any]
    details: CleanDetails
    facts: list[tuple[str, str, str]]
    unknown: list[str]

    @classmethod
    def of(cls, cleaning: Cleaning, final: FinalRound) -> CleanResult:
        """Put together what the rounds found."""
        details = _details(cleaning, final)
        metrics = _metrics(cleaning, final)
        return cls(
            cleaned=final.cleaned,
            metrics=metrics,
            details=details,
            facts=_facts(details, metrics),
            unknown=_unknown(cleaning, final),
        )


def _metrics(cleaning: Cleaning, final: FinalRound) -> dict[str, Any]:
    kept = cleaning.kept
    before, after = final.before, final.after
    found: dict[str, Any] = {
        **after.metrics,
        **{f"victim_{key}": value for key, value in before.metrics.items() if not key.startswith("n_")},
        "canary_asr": kept.asr if kept else None,
        "planted_canary_asr": mean_asr(cleaning.planted),
        "floor_canary_asr": mean_asr(cleaning.suspect),
        "canary_recovery": kept.recovery if kept else None,
        "planted_canary_recovery": mean_recovery(cleaning.planted, cleaning.suspect),
        "inverted_asr": after.inverted_asr,
        "victim_inverted_asr": before.inverted_asr,
    }
    for prefix, each in (("", after), ("victim_", before)):
        if each.scan is not None:
            found[f"{prefix}scan_score"] = each.scan.metrics.get("score")
    return {key: value for key, value in found.items() if value is not None}


def _details(cleaning: Cleaning, final: FinalRound) -> CleanDetails:
    found, choice, chosen = cleaning.found, cleaning.choice, cleaning.chosen
    training, canvas, shares = TrainingDetails.of(final.trained), found.canvas, found.shares
    return CleanDetails(
        fingerprint=training.fingerprint,
        canvas=CanvasRecord(size=canvas.size, mode=canvas.mode, interpolation=canvas.interpolation),
        objective=training.objective,
        terms=training.terms,
        defence=training.defence,
        phases=training.phases,
        steps=training.steps,
        global_batch=training.global_batch,
        training_seconds=training.training_seconds,
        bad=training.bad,
        method=chosen.method,
        lr=chosen.lr,
        reason=choice.reason if choice else "",
        within=_is_within(cleaning),
        accuracy="BA@1" if found.labelled else "R@1 of retrieval",
        references=_references(cleaning),
        candidates=_candidates(cleaning),
        merges=[
            {"name": name, "accuracy": one.accuracy, "asr": one.asr, "recovery": one.recovery}
            for name, one in cleaning.merges.items()
        ],
        share=cleaning.share,
        dropped=[str(each) for each in cleaning.dropped],
        canaries=_canaries(cleaning),
        floor=mean_asr(cleaning.suspect),
        scans={
            name: _scan(each)
            for name, each in (("before", final.before), ("after", final.after))
            if each.scan
        },
        attack=found.attack.trigger.name if found.attack else None,
        shares={name: len(rows) for name, rows in shares.rows.items()},
    )


def _is_within(cleaning: Cleaning) -> bool:
    """Whether what is kept, which may be a milder share than the chosen one, is within the bounds."""
    return cleaning.kept is not None and cleaning.choose([cleaning.kept]).within


def _references(cleaning: Cleaning) -> list[dict[str, Any]]:
    rows = (
        ("suspect, without canaries", cleaning.suspect_accuracy, cleaning.suspect),
        ("planted copy, not cleaned", cleaning.planted_accuracy, cleaning.planted),
    )
    return [
        {
            "name": name,
            "accuracy": accuracy,
            "asr": mean_asr(figures),
            "recovery": mean_recovery(figures, cleaning.suspect),
        }
        for name, accuracy, figures in rows
    ]


def _candidates(cleaning: Cleaning) -> list[dict[str, Any]]:
    return [
        {
            "name": str(each),
            "method": each.method,
            "lr": each.lr,
            "accuracy": outcome.accuracy,
            "asr": outcome.asr,
            "recovery": outcome.recovery,
            "seconds": cleaning.seconds(each),
            "chosen": each == cleaning.chosen,
        }
        for each, outcome in cleaning.outcomes.items()
    ]


def _canaries(cleaning: Cleaning) -> list[dict[str, Any]]:
    return [
        {
            "attack": each.attack,
            "target": each.target,
            "asr": cleaning.learned[each.attack].asr,
            "counted": each in cleaning.counted,
        }
        for each in cleaning.canaries
    ]


def _scan(measured: Measured) -> dict[str, Any]:
    details = ScanDetails.of(measured.scan) if measured.scan else ScanDetails()
    return {
        "verdict": details.verdict,
        "score": details.score,
        "target": details.target,
        "reason": details.reason,
    }


def _facts(details: CleanDetails, metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table of before and after; those without both figures are left out."""
    accuracy = "ba@1" if "ba@1" in metrics else "retrieval_i2t@1"
    rows = [
        (
            f"clean accuracy, {details.accuracy}",
            _share(metrics, f"victim_{accuracy}"),
            _share(metrics, accuracy),
        ),
        (
            f"canaries in a copy, mean ASR@1 (suspect itself {percent(details.floor or 0)} %)",
            _share(metrics, "planted_canary_asr"),
            _share(metrics, "canary_asr"),
        ),
        (
            "canaries in a copy, mean recovery@1",
            _share(metrics, "planted_canary_recovery"),
            _share(metrics, "canary_recovery"),
        ),
        (
            "ASR@1 of the trigger that the scan found in the suspect",
            _share(metrics, "victim_inverted_asr"),
            _share(metrics, "inverted_asr"),
        ),
        *_scan_rows(details),
    ]
    if details.attack is not None:
        for key in ("asr@1", "ra@1", "recovery@1"):
            label = f"true trigger, {key.upper()} (not used)"
            rows.append((label, _share(metrics, f"victim_{key}"), _share(metrics, key)))
    return [row for row in rows if row[1] or row[2]]


def _scan_rows(details: CleanDetails) -> list[tuple[str, str, str]]:
    def words(name: str) -> str:
        scan = details.scans.get(name) or {}
        score = scan.get("score")
        return f"{scan.get('verdict') or ''}{f', score {score:.2f}' if score is not None else ''}"

    return [("scan", words("before"), words("after"))]


def _share(metrics: Mapping[str, Any], key: str) -> str:
    if metrics.get(key) is None:
        return ""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    interval = f" [{percent(low)}, {percent(high)}]" if low is not None and high is not None else ""
    return f"{percent(metrics[key])} %{interval}"


def _unknown(cleaning: Cleaning, final: FinalRound) -> list[str]:
    found = [
        "Whether the suspect's own trigger is gone: canaries are other triggers, planted later and for a shorter time"
        " than an attacker's may have been.",
    ]
    if cleaning.found.attack is None:
        found.append(
            "The true trigger, and whether there is one: ASR on the suspect cannot be measured without it."
        )
    if cleaning.scanned is None:
        found.append("What a scan would find: none was made.")
    elif final.before.verdict == "cannot tell":
        found.append("Whether the suspect is backdoored: the scan could not tell.")
    if cleaning.kept is None:
        found.append(
            f"What the kept share, {cleaning.share:g}, does to the canaries: it could not be measured."
        )
    elif cleaning.choice and cleaning.choice.within and not _is_within(cleaning):
        found.append(
            f"What becomes of a backdoor that the scan missed: with {100 * cleaning.share:.0f} % of the cleaned weights"
            f" the canaries have a mean ASR@1 of {percent(cleaning.kept.asr)} %."
        )
    missed = [str(each) for each in cleaning.canaries if each not in cleaning.counted]
    if missed:
        found.append(
            f"How these kinds of backdoors fare, whose canaries were not learned: {', '.join(missed)}."
        )
    if cleaning.dropped:
        found.append(
            f"What the candidates that the budget left out would do: {', '.join(map(str, cleaning.dropped))}."
        )
    return found


def write_page(result: CleanResult, folder: Path, warnings: Sequence[str]) -> None:
    """Write ``index.html``."""
    details = result.details
    page = CleaningPage(
        details=details,
        title=folder.name,
        facts=result.facts,
        unknown=result.unknown,
        warnings=list(warnings),
    )
    atomic_write(folder / PAGE, render_cleaning(page))


def tell_result(result: CleanResult, finished: Run, console: Console) -> None:
    """Show the same facts as the page, in short."""
    details = result.details
    console.table("Before and after", ["", "suspect", "cleaned"], result.facts)
    console.info(f"Chosen: {chosen_words(details)}, {details.reason}.")
    for sentence in result.unknown:
        console.info(f"Not known: {sentence}")
    console.info(f"The cleaned model: {finished.path / 'model'}; the page: {finished.path / PAGE}")
