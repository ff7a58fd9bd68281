"""The rounds of ``clean``: each makes the runs that the one before has decided on, and reads what they measured."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdefend.commands.clean.candidates import Candidate
from clipdefend.commands.clean.clean_inputs import CleanInputs, draw_targets
from clipdefend.commands.clean.clean_steps import Canary, CleanSteps
from clipdefend.commands.clean.cleaning_rule import (
    CanaryFigures,
    Choice,
    Outcome,
    choose_outcome,
    fit_budget,
    mean_asr,
    mean_recovery,
)
from clipdefend.commands.shared.made_runs import LOGS, make_runs, missing_runs
from clipdefend.commands.study.plan_costs import Costs
from clipdefend.config import CleanConfig
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.data.target_rows import target_pattern
from clipdefend.errors import RunError
from clipdefend.runs import Context, Run, RunDir, ScanDetails, atomic_write
from clipdefend.study.grid import Node

KEPT = "kept.json"
"""In the resume state: the candidates that fitted into the budget, since what is left of it differs when resumed."""
LEAST_NAMED = 2
"""Captions that have to name a canary's target where its success is measured by retrieval."""


@dataclass
class Cleaning:
    """What the rounds found so far.

    Attributes:
        config, context, found, folder, steps: of the command.
        began: when this process began, in seconds.
        canaries: those that were planted; ``counted`` those that were learned.
        suspect, planted: figures under each counted canary.
        suspect_accuracy, planted_accuracy: clean accuracy on the canaries' images.
        dropped: candidates that did not fit into the budget.
        tried: the training run of each candidate.
        outcomes: of each candidate that was tried.
        costs: candidate -> its expected seconds, where a budget asked for them.
        choice: the chosen one.
    """

    config: CleanConfig
    context: Context
    found: CleanInputs
    folder: RunDir
    steps: CleanSteps
    began: float = field(default_factory=time.monotonic)
    scanned: Run | None = None
    canaries: list[Canary] = field(default_factory=list)
    counted: list[Canary] = field(default_factory=list)
    learned: dict[str, CanaryFigures] = field(default_factory=dict)
    suspect: list[CanaryFigures] = field(default_factory=list)
    planted: list[CanaryFigures] = field(default_factory=list)
    suspect_accuracy: float = 0.0
    planted_accuracy: float = 0.0
    dropped: list[Candidate] = field(default_factory=list)
    tried: dict[Candidate, Node] = field(default_factory=dict)
    outcomes: dict[Candidate, Outcome] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=dict)
    choice: Choice | None = None

    def make(self, title: str, nodes: Sequence[Node], *, needed: bool = True) -> dict[str, str]:
        """Make runs. Raises RunError if one of them fails and all are needed."""
        self.context.console.info(f"{title} ...")
        outcomes = make_runs(
            self.steps.folder, nodes, self.config.jobs, self.context.console, describe=self.steps.title
        )
        missing = missing_runs(outcomes, self.steps.title)
        if missing and needed:
            logs = [name for name, outcome in outcomes.items() if outcome == "failed"]
            where = self.steps.folder / LOGS
            raise RunError(
                f"{title}: {missing}. See {where / logs[0] if logs else where}{'.log' if logs else ''}; then go on with"
                f" clipdefend clean --resume {self.folder.path}."
            )
        if missing:
            self.context.console.warn(f"{title}: {missing}; they are left out.")
        return outcomes

    def run(self, node: Node) -> Run:
        """A finished step."""
        return Run.open(self.steps.folder / node.name)

    def scan_suspect(self, reference: Path | None, classes: Path) -> None:
        """Scan the suspect; a scan that fails is left out."""
        node = self.steps.scan("the suspect", None, reference, classes)
        outcomes = self.make("Scan", [node], needed=False)
        self.scanned = self.run(node) if outcomes[node.name] in ("there", "made") else None

    def plant(self) -> Node:
        """Plant the canaries and measure them in the suspect and in its copy.

        Returns:
            The planted copy.

        Raises:
            RunError: no canary was learned.
        """
        self.canaries = self.steps.canaries(self._targets())
        planted = self.steps.planted(self.canaries)
        before = [self.steps.measure("the suspect", None, canary=each) for each in self.canaries]
        after = [self.steps.measure("the planted copy", planted, canary=each) for each in self.canaries]
        self.make("Canaries", [*(each.poison for each in self.canaries), planted, *before, *after])
        self.suspect_accuracy = self._accuracy(before[0])
        self.planted_accuracy = self._accuracy(after[0])
        for canary, old, new in zip(self.canaries, before, after, strict=True):
            figures = self.learned[canary.attack] = self._figures(new)
            if figures.asr >= self.config.canaries.learned:
                self.counted.append(canary)
                self.suspect.append(self._figures(old))
                self.planted.append(figures)
                continue
            self.context.console.warn(
                f"Canary {canary} was not learned (ASR@1 {100 * figures.asr:.1f} %), and does not count."
            )
        if not self.counted:
            raise RunError(
                "No canary was learned, so that nothing can be chosen by them: raise --canary-rate"
                f" ({self.config.canaries.rate:g}), --canary-epochs or --canary-lr, or lower --canary-learned, and"
                " clean into another folder."
            )
        return planted

    def try_candidates(self, planted: Node) -> None:
        """Clean the planted copy by each candidate, and choose."""
        kept = self._kept(planted)
        nodes = self.tried = {each: self.steps.candidate(each, planted) for each in kept}
        measured = {
            each: [self.steps.measure(f"{each}", node, canary=canary) for canary in self.counted]
            for each, node in nodes.items()
        }
        graph = [*nodes.values(), *(each for evaluations in measured.values() for each in evaluations)]
        outcomes = self.make("Candidates", graph, needed=False)
        for candidate, evaluations in measured.items():
            if any(outcomes[each.name] not in ("there", "made") for each in evaluations):
                continue
            figures = [self._figures(each) for each in evaluations]
            self.outcomes[candidate] = Outcome(
                name=str(candidate),
                accuracy=self._accuracy(evaluations[0]),
                asr=mean_asr(figures),
                recovery=mean_recovery(figures, self.suspect),
            )
        if not self.outcomes:
            raise RunError(f"No candidate could be tried. See {self.steps.folder / LOGS}.")
        bounds = self.config.choice
        self.choice = choose_outcome(
            list(self.outcomes.values()),
            floor=mean_asr(self.suspect),
            asr_bound=bounds.asr,
            recovery_bound=bounds.recovery,
        )
        if not self.choice.within:
            self.context.console.warn(
                f"{self.choice.reason[0].upper()}{self.choice.reason[1:]} counts: {self.choice.name}. The canaries are"
                " not gone, and a backdoor may not be either. Try other --candidates, more pairs or more --epochs."
            )

    def seconds(self, candidate: Candidate) -> float:
        """How long the training of a candidate took."""
        return float(self.run(self.tried[candidate]).manifest["seconds"])

    @property
    def chosen(self) -> Candidate:
        """The chosen candidate, once there is one."""
        (found,) = [each for each in self.outcomes if self.choice and str(each) == self.choice.name]
        return found

    def _targets(self) -> list[str]:
        """The canaries' targets: given, or drawn without the one that the scan suspects."""
        if self.config.canaries.targets is not None:
            return list(self.config.canaries.targets)
        suspected = ScanDetails.of(self.scanned).target if self.scanned else None
        usable = None
        if not self.found.labelled:
            rows = self.found.shares.check
            captions = RemainingPairs(self.found.pairs, rows).rest().captions()
            usable = lambda name: (  # noqa: E731
                sum(target_pattern(name).search(caption) is not None for caption in captions) >= LEAST_NAMED
            )
        return draw_targets(
            self.found.classes,
            len(self.config.canaries.attacks),
            self.config.seed,
            without=suspected,
            usable=usable,
        )

    def _kept(self, planted: Node) -> list[Candidate]:
        """The candidates that fit into the budget, decided once."""
        every = {str(each): each for each in self.found.candidates}
        record = self.folder.state / KEPT
        if self.config.seconds is None:
            return list(every.values())
        if record.is_file():
            names = [name for name in json.loads(record.read_text(encoding="utf-8")) if name in every]
        else:
            names = self._fitting(every, planted)
            atomic_write(record, json.dumps(names))
        self.dropped = [each for name, each in every.items() if name not in names]
        if self.dropped:
            left_out = ", ".join(map(str, self.dropped))
            self.context.console.warn(
                f"Left out, since --budget {self.config.budget} is too short: {left_out}."
            )
        return [every[name] for name in names]

    def _fitting(self, every: Mapping[str, Candidate], planted: Node) -> list[str]:
        nodes = {name: self.steps.candidate(each, planted) for name, each in every.items()}
        measured = self.steps.measure("a candidate", planted, canary=self.counted[0])
        costs = Costs(self.steps.folder, [*nodes.values(), measured], self.context.console, measure=True)
        each = len(self.counted) * (costs.seconds(measured) or 0.0)
        self.costs = {
            name: None if seconds is None else seconds + each
            for name, node in nodes.items()
            for seconds in [costs.seconds(node)]
        }
        known = [cost for cost in self.costs.values() if cost is not None]
        # The chosen one is applied to the suspect once more, and the suspect's scan is repeated at the end.
        ahead = max(known, default=0.0) + (self.scanned.manifest["seconds"] if self.scanned else 0.0)
        spent = time.monotonic() - self.began
        return fit_budget(self.costs, (self.config.seconds or 0.0) - spent - ahead)[0]

    def _figures(self, node: Node) -> CanaryFigures:
        metrics = self.run(node).metrics
        asr, ra = (
            ("asr@1", "ra@1") if self.found.labelled else ("retrieval_asr@1", "retrieval_triggered_i2t@1")
        )
        if asr not in metrics:
            raise RunError(
                f"Run {node.name} measured no {asr}: no image or caption for this canary's target."
            )
        return CanaryFigures(asr=metrics[asr], ra=metrics.get(ra))

    def _accuracy(self, node: Node) -> float:
        metrics: dict[str, Any] = self.run(node).metrics
        return float(metrics["ba@1" if self.found.labelled else "retrieval_i2t@1"])
