"""How the stopping rules did over all runs."""

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
    """What each rule chose, for the page and ``report.json``; None where no run has two epochs to choose from.

    Args:
        found: what the defences recorded.
        budget: largest loss of BA@1 that the rules may allow, as a fraction.
    """
    judged = [
        (f"{attack}, {defence}, {run.name}", epochs, run, apply_rules(epochs, budget))
        for attack, defence, run, epochs in found.runs
        if len([epoch for epoch in epochs if epoch.number > 0]) > 1
    ]
    judged = [each for each in judged if each[3]]
    if not judged:
        return None
    made = [choice for _, _, _, chosen in judged for choice in chosen]
    return {
        "runs": len(judged),
        "budget": f"{100 * budget:g}",
        "rules": _rules(made),
        "lines": [_line(name, epochs, chosen) for name, epochs, _, chosen in judged],
        "note": _note([run for _, _, run, _ in judged])
        + _images([(run, epochs) for _, epochs, run, _ in judged]),
    }


def _rules(made: Sequence[Choice]) -> list[dict[str, Any]]:
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


def _note(runs: Sequence[Run]) -> str:
    """Whether the pairs that the rules see were trained on."""
    watched = [pairs for run in runs if (pairs := DefendDetails.of(run).visible)]
    if not all(pairs.held_out for pairs in watched):
        return "Some runs were watched on pairs that they were trained on as well: their validation loss flatters."
    if not watched:
        return "These runs recorded clean accuracy only, so the rules on loss and drift are missing."
    return "The pairs that the rules see were not trained on."


def _images(judged: Sequence[tuple[Run, Sequence[Epoch]]]) -> str:
    """Which images clean accuracy was measured on."""
    if any(
        epoch.values.get("n_clean") != run.metrics.get("n_clean")
        for run, epochs in judged
        for epoch in epochs
    ):
        return " Clean accuracy is that of the fixed subset of the table's images which every epoch was measured on."
    return " Clean accuracy is that of the table, on the same images."
