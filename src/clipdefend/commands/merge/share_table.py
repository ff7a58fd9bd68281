"""The table of shares that ``merge`` ends with."""

from __future__ import annotations

from collections.abc import Mapping

from clipdefend.commands.merge.share_choice import Choice
from clipdefend.console import Console

HEADS = {"ba@1": "BA@1", "val_r@1": "R@1", "asr@1": "ASR@1", "ra@1": "RA@1", "proxy_asr": "proxy ASR"}
"""Metrics of the table, and their headings."""


def show_shares(
    console: Console, measured: Mapping[float, Mapping[str, float]], choice: Choice, accuracy: str
) -> None:
    """Show the figures of each share, then which was chosen and why.

    Args:
        console: for people.
        measured: share -> its figures, ascending.
        choice: the chosen one.
        accuracy: the metric that it was chosen by.
    """
    chosen = choice.candidate.share
    known = [name for name in HEADS if any(name in figures for figures in measured.values())]
    rows = [
        [
            f"{share:g}{' *' if share == chosen else ''}",
            *(f"{100 * figures[name]:.1f}" if name in figures else "-" for name in known),
        ]
        for share, figures in measured.items()
    ]
    console.table("Shares of the input model, %", ["share", *(HEADS[name] for name in known)], rows)
    if len(measured) > 1 and choice.allowed:
        console.info(
            f"Chosen: {chosen:g}, the largest {HEADS[accuracy]} of {choice.allowed} with a proxy ASR of at most"
            f" {100 * choice.bound:.1f} %."
        )
