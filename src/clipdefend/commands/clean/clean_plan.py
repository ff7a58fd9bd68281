"""``clean --plan``: the runs and what they cost, with nothing made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.commands.clean.candidates import Candidate
from clipdefend.commands.clean.clean_inputs import CleanInputs
from clipdefend.commands.clean.clean_steps import CleanSteps
from clipdefend.commands.clean.cleaning_rule import fit_budget
from clipdefend.commands.shared.made_runs import show_cost, show_seconds
from clipdefend.commands.study.plan_costs import Costs
from clipdefend.config import CleanConfig, FinetuneAttackConfig
from clipdefend.runs import Context


@dataclass(frozen=True)
class CleanPlan:
    """A table for people, and the same as data.

    Attributes:
        file: folder of the steps, which is gone.
        manifest: what ``--json`` prints.
        text: what is printed otherwise.
    """

    file: Path
    manifest: Mapping[str, Any]
    text: str


def plan_runs(steps: CleanSteps, found: CleanInputs, config: CleanConfig, context: Context) -> CleanPlan:
    """List the steps. A step of each candidate's training is measured; planting is reckoned from that of ``ft``."""
    nodes = {each: steps.cleaned(each, None) for each in found.candidates}
    ft = steps.cleaned(Candidate("ft", config.train.lr), None)
    costs = Costs(steps.folder, [*nodes.values(), ft], context.console, measure=True)
    seconds = {each: costs.seconds(node) for each, node in nodes.items()}
    canaries = len(config.canaries.attacks)
    rows: list[tuple[str, float | None]] = [("scan the suspect", None)] if config.scan else []
    rows += [(f"poison pairs with canary {attack}", None) for attack in config.canaries.attacks]
    rows.append(
        ("plant the canaries in a copy of the suspect", _planting(steps, found, config, costs.seconds(ft)))
    )
    rows.append((f"measure {2 * canaries} times: the suspect and its copy under {canaries} canaries", None))
    rows += [(f"try {each}, and measure {canaries} times", cost) for each, cost in seconds.items()]
    known = [cost for cost in seconds.values() if cost is not None]
    shares = len(config.merge_shares or ())
    rows += (
        [(f"mix {shares} shares with the planted copy, measured {canaries} times", None)] if shares else []
    )
    rows.append(("clean the suspect by the best of them, at most", max(known, default=None)))
    rows.append(("measure the suspect and the cleaned model", None))
    rows += [("scan the cleaned model", None)] if config.scan else []
    lines = [f"{show_cost(cost):>9}  {title}" for title, cost in rows]
    total = math.fsum(cost for _, cost in rows if cost is not None)
    lines.append(f"Training takes about {show_seconds(total)}; scans and measurements come on top.")
    if config.seconds is not None:
        left = config.seconds - total + sum(known)
        kept, dropped = fit_budget({str(each): cost for each, cost in seconds.items()}, left)
        without = f"; left out: {', '.join(dropped)}" if dropped else ""
        lines.append(f"Within --budget {config.budget}: {', '.join(kept)}{without}.")
    manifest = {"steps": [{"title": title, "seconds": cost} for title, cost in rows], "seconds": total}
    return CleanPlan(steps.folder, manifest, "\n".join(lines))


def _planting(steps: CleanSteps, found: CleanInputs, config: CleanConfig, ft: float | None) -> float | None:
    """Seconds of planting, by those of plain fine-tuning for each pair and epoch."""
    if ft is None:
        return None
    canaries = steps.canaries(found.classes[: len(config.canaries.attacks)])
    planting = steps.planted(canaries).config
    epochs = planting.train.epochs if isinstance(planting, FinetuneAttackConfig) else config.train.epochs
    shares = found.shares
    return ft * len(shares.copy) * epochs / (len(shares.train) * config.train.epochs)
