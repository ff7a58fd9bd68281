"""Summary of how well the stopping rules chose over all runs of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from clipdefend.report.collect import Epoch
from clipdefend.report.escape import percent, tidy
from clipdefend.report.illustrations import Histories
from clipdefend.report.stopping import RULES, Choice, apply_rules, best_epoch
from clipdefend.runs import DefendDetails, Run


def summarize_stopping(found: Histories, budget: float) -> dict[str, Any] | None:
    """Summarize what each rule chose, for the page and ``report.json``.

    Args:
        found: what the defences recorded.
        budget: largest loss of BA@1 that the rules allow, as a fraction.

    Returns:
        Number of runs, budget in points, figures of each rule, a line for each run, and a note; None where no run
        recorded two epochs to choose from.
    """
    histories = [
        (f"{attack}, {defence}, {run.name}", epochs, run, apply_rules(epochs, budget))
        for attack, defence, run, epochs in found.runs
        if len([epoch for epoch in epochs if epoch.number > 0]) > 1
    ]
    histories = [each for each in histories if each[3]]
    if not histories:
        return None
    made = [choice for _, _, _, chosen in histories for choice in chosen]
    return {
        "runs": len(histories),
        "budget": f"{100 * budget:g}",
        "rules": _rules(made),
        "lines": [_line(name, epochs, chosen) for name, epochs, _, chosen in histories],
        "note": _describe_pairs([run for _, _, run, _ in histories])
        + _describe_images([(run, epochs) for _, epochs, run, _ in histories]),
    }


def _rules(made: Sequence[Choice]) -> list[dict[str, Any]]:
    """Return a rule's texts with its mean and largest regret, in percent; rules that chose nowhere are left out."""
    by_rule = {rule.name: [c.regret for c in made if c.rule == rule.name] for rule in RULES}
    means = {name: math.fsum(regrets) / len(regrets) for name, regrets in by_rule.items() if regrets}
    least = percent(min(means.values()))
    return [
        {
            "name": rule.name,
            "text": rule.text,
            "runs": len(by_rule[rule.name]),
            "mean": percent(means[rule.name]),
            "largest": percent(max(by_rule[rule.name])),
            "best": percent(means[rule.name]) == least,
        }
        for rule in RULES
        if rule.name in means
    ]


def _line(name: str, epochs: Sequence[Epoch], chosen: Sequence[Choice]) -> dict[str, Any]:
    """Return the cells of one run: the best epoch, then the choice of each rule."""
    top = best_epoch(epochs)
    values = top.values if top else {}
    cells = [
        {
            "label": "best",
            "text": f"epoch {top.number if top else '–'}",
            "more": f"{percent(values['ba@1'])} / {percent(values['asr@1'])}" if values else "",
        }
    ]
    by_rule = {choice.rule: choice for choice in chosen}
    for rule in RULES:
        choice = by_rule.get(rule.name)
        more = (
            f"{percent(choice.ba)} / {percent(choice.asr)}, regret {percent(choice.regret)}" if choice else ""
        )
        cells.append({"label": rule.name, "text": f"epoch {choice.epoch}" if choice else "–", "more": more})
    return {"name": tidy(name, 200), "cells": cells}


def _describe_pairs(runs: Sequence[Run]) -> str:
    """Say whether the runs were trained on the pairs that the rules see."""
    watched = [pairs for run in runs if (pairs := DefendDetails.of(run).visible)]
    if not all(pairs.held_out for pairs in watched):
        return "Some runs were watched on pairs that they were trained on as well: their validation loss flatters."
    if not watched:
        return "These runs recorded clean accuracy only, so the rules on loss and drift are missing."
    return "The pairs that the rules see were not trained on."


def _describe_images(histories: Sequence[tuple[Run, Sequence[Epoch]]]) -> str:
    """Say which images clean accuracy was measured on."""
    if any(
        epoch.values.get("n_clean") != run.metrics.get("n_clean")
        for run, epochs in histories
        for epoch in epochs
    ):
        return " Clean accuracy is that of the fixed subset of the table's images which every epoch was measured on."
    return " Clean accuracy is that of the table, on the same images."
