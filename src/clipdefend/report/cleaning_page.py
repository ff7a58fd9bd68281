"""The page of ``clean``: what was tried, why this one, before and after, and what remains unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipdefend import __version__
from clipdefend.report.escape import percent, tidy
from clipdefend.report.page import page_environment
from clipdefend.runs import CleanDetails


@dataclass(frozen=True, kw_only=True)
class CleaningPage:
    """What the page shows.

    Attributes:
        details: of the run.
        title: its name.
        facts: label, before and after of each fact.
        unknown: sentences.
        warnings: that were shown.
    """

    details: CleanDetails
    title: str
    facts: Sequence[tuple[str, str, str]]
    unknown: Sequence[str]
    warnings: Sequence[str]


def render_cleaning(page: CleaningPage) -> str:
    """Return the page as HTML, with every value escaped."""
    details = page.details
    html: str = (
        page_environment()
        .get_template("cleaning.html")
        .render(
            title=tidy(page.title),
            details=details,
            chosen=tidy(chosen_words(details)),
            reason=tidy(details.reason, 300),
            facts=[[tidy(text, 200) for text in row] for row in page.facts],
            references=[_outcome(each) for each in details.references],
            candidates=[_candidate(each) for each in details.candidates],
            merges=[_outcome(each) for each in details.merges],
            share=f"share {details.share:g}",
            dropped=[tidy(str(each)) for each in details.dropped],
            canaries=[_canary(each) for each in details.canaries],
            scans={
                name: {key: tidy(str(value), 400) for key, value in scan.items()}
                for name, scan in details.scans.items()
            },
            unknown=[tidy(text, 1000) for text in page.unknown],
            warnings=[tidy(text, 1000) for text in page.warnings],
            version=__version__,
        )
    )
    return html


def chosen_words(details: CleanDetails) -> str:
    """Return what cleaned the suspect, such as "unlearn at 0.0015, 80 % of its weights with 20 % of the suspect's"."""
    words = f"{details.method} at {details.lr:g}"
    if details.share == 1:
        return words
    own = 100 * details.share
    return f"{words}, {own:.0f} % of its weights with {100 - own:.0f} % of the suspect's"


def _outcome(entry: Mapping[str, Any]) -> dict[str, Any]:
    recovery = entry.get("recovery")
    return {
        "name": tidy(str(entry["name"])),
        "accuracy": percent(entry["accuracy"]),
        "asr": percent(entry["asr"]),
        "recovery": "–" if recovery is None else percent(recovery),
    }


def _candidate(entry: Mapping[str, Any]) -> dict[str, Any]:
    seconds = f"{entry.get('seconds') or 0:,.0f}"
    return {**_outcome(entry), "seconds": seconds, "chosen": bool(entry["chosen"])}


def _canary(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attack": tidy(str(entry["attack"])),
        "target": tidy(str(entry["target"])),
        "asr": percent(entry["asr"]),
        "counted": "yes" if entry["counted"] else "no, not learned",
    }
