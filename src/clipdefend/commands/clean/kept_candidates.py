"""Which candidates fit into ``--budget``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from clipdefend.commands.clean.candidates import Candidate
from clipdefend.commands.clean.clean_steps import CleanSteps
from clipdefend.commands.clean.cleaning_rule import fit_budget
from clipdefend.commands.study.plan_costs import Costs
from clipdefend.console import Console
from clipdefend.runs import Run, RunDir, atomic_write
from clipdefend.study.grid import Node

KEPT = "kept.json"
"""In the resume state: the candidates that fitted, since what is left of the budget differs when a run is resumed."""


def keep_candidates(
    every: list[Candidate],
    folder: RunDir,
    steps: CleanSteps,
    nodes: Mapping[Candidate, Node],
    measurement: Node,
    *,
    canaries: int,
    scan: Run | None,
    began: float,
    console: Console,
) -> list[Candidate]:
    """Return the candidates that fit into the budget, decided once for a folder.

    Args:
        every: all candidates.
        folder: of the command, whose resume state keeps the decision.
        steps: of the command.
        nodes: the training run of each candidate.
        measurement: a finished measurement under one canary; its command's runs tell what one costs.
        canaries: number of measurements of a candidate.
        scan: of the suspect, which is repeated at the end.
        began: ``time.monotonic()`` when the command began.
        console: told of steps that are measured.
    """
    budget = steps.config.seconds
    if budget is None:
        return every
    record = folder.state / KEPT
    if record.is_file():
        names = json.loads(record.read_text(encoding="utf-8"))
        return [each for each in every if str(each) in names]
    costs = Costs(steps.folder, [*nodes.values(), measurement], console, measure=True)
    measuring = canaries * (costs.seconds(measurement) or 0.0)
    seconds: dict[str, float | None] = {}
    for each in every:
        training = costs.seconds(nodes[each])
        seconds[str(each)] = None if training is None else training + measuring
    known = [cost for cost in seconds.values() if cost is not None]
    # The chosen one is applied to the suspect once more.
    ahead = max(known, default=0.0) + (float(scan.manifest["seconds"]) if scan else 0.0)
    kept, _ = fit_budget(seconds, budget - (time.monotonic() - began) - ahead)
    atomic_write(record, json.dumps(kept))
    return [each for each in every if str(each) in kept]
