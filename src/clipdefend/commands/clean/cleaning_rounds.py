"""The rounds of ``clean``: each makes the runs that the one before has decided on, and reads what they measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdefend.commands.clean.candidates import Candidate
from clipdefend.commands.clean.clean_inputs import CleanInputs, draw_targets
from clipdefend.commands.clean.clean_steps import Canary, CleanSteps
from clipdefend.commands.clean.cleaning_rule import (
    LEAST_RA,
    CanaryFigures,
    Choice,
    Outcome,
    choose_outcome,
    mean_asr,
    mean_recovery,
)
from clipdefend.commands.clean.kept_candidates import keep_candidates
from clipdefend.commands.shared.made_runs import LOGS, make_runs, missing_runs
from clipdefend.config import CleanConfig
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.data.target_rows import target_pattern
from clipdefend.errors import RunError
from clipdefend.runs import Context, Run, RunDir, ScanDetails
from clipdefend.study.carry_out import GOOD
from clipdefend.study.grid import Node

LEAST_NAMED = 2
"""Captions that have to name a canary's target where its success is measured by retrieval."""


@dataclass
class Cleaning:
    """What the rounds found so far.

    Attributes:
        config, context, found, folder, steps: of the command.
        began: when the command began by ``time.monotonic``, as if it had never been interrupted.
        canaries: those that were planted; ``counted`` those that were learned.
        suspect, planted: figures under each counted canary.
        suspect_accuracy, planted_accuracy: clean accuracy on the canaries' images.
        dropped: candidates that did not fit into the budget.
        tried: name -> training run of each candidate.
        outcomes: of each candidate that was tried.
        choice: the chosen one.
        merges: name -> outcome of each share of the chosen one, mixed with the planted copy.
        share: the chosen share.
    """

    config: CleanConfig
    context: Context
    found: CleanInputs
    folder: RunDir
    steps: CleanSteps
    began: float
    scanned: Run | None = None
    canaries: list[Canary] = field(default_factory=list)
    counted: list[Canary] = field(default_factory=list)
    learned: dict[str, CanaryFigures] = field(default_factory=dict)
    suspect: list[CanaryFigures] = field(default_factory=list)
    planted: list[CanaryFigures] = field(default_factory=list)
    suspect_accuracy: float = 0.0
    planted_accuracy: float = 0.0
    dropped: list[Candidate] = field(default_factory=list)
    tried: dict[str, Node] = field(default_factory=dict)
    outcomes: dict[Candidate, Outcome] = field(default_factory=dict)
    choice: Choice | None = None
    merges: dict[str, Outcome] = field(default_factory=dict)
    share: float = 1.0

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
        self.scanned = self.run(node) if outcomes[node.name] in GOOD else None

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
        self.suspect_accuracy = self.accuracy(before[0])
        self.planted_accuracy = self.accuracy(after[0])
        for canary, old, new in zip(self.canaries, before, after, strict=True):
            figures = self.learned[canary.attack] = self._figures(new)
            self._tell_hidden(canary, self._figures(old))
            if figures.asr >= self.config.canaries.learned:
                self.context.console.info(f"Canary {canary}: ASR@1 {100 * figures.asr:.1f} % in the copy")
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
        every = self.found.candidates
        nodes = {each: self.steps.candidate(each, planted, self.triggers) for each in every}
        kept = keep_candidates(
            every,
            self.folder,
            self.steps,
            nodes,
            self.steps.measure("the planted copy", planted, canary=self.counted[0]),
            canaries=len(self.counted),
            scan=self.scanned,
            began=self.began,
            console=self.context.console,
        )
        self.dropped = [each for each in every if each not in kept]
        if self.dropped:
            left_out = ", ".join(map(str, self.dropped))
            self.context.console.warn(
                f"Left out, since --budget {self.config.budget} is too short: {left_out}."
            )
        self.tried = {str(each): nodes[each] for each in kept}
        found = self.measured("Candidates", self.tried)
        self.outcomes = {each: found[str(each)] for each in kept if str(each) in found}
        if not self.outcomes:
            raise RunError(f"No candidate could be tried. See {self.steps.folder / LOGS}.")
        self.choice = self.choose(list(found.values()))
        if not self.choice.within:
            self.context.console.warn(
                f"{self.choice.reason[0].upper()}{self.choice.reason[1:]} counts: {self.choice.name}. The canaries are"
                " not gone, and a backdoor may not be either. Try other --candidates, more pairs or more --epochs."
            )

    def merge_back(self, planted: Node, classes: Path) -> None:
        """Mix the chosen candidate with the planted copy by shares, and choose among them by the same rule."""
        if self.choice is None or not self.choice.within or not self.config.merge_shares:
            return
        whole = dataclasses.replace(self.outcomes[self.chosen], name="share 1")
        self.merges = {
            "share 1": whole,
            **self.mixed("Merge back", self.config.merge_shares, planted, classes),
        }
        self.share = float(self.choose(list(self.merges.values())).name.removeprefix("share "))

    def mixed(self, title: str, shares: Sequence[float], planted: Node, classes: Path) -> dict[str, Outcome]:
        """Mix the chosen candidate with the planted copy and measure each share under the canaries."""
        node, copy = self.tried[str(self.chosen)], self.steps.folder / planted.name
        nodes = {
            f"share {share:g}": self.steps.merged(node, share, copy, classes, planted) for share in shares
        }
        return self.measured(title, nodes)

    @property
    def kept(self) -> Outcome | None:
        """What the chosen share does to the planted copy; None where it could not be measured."""
        whole = self.outcomes[self.chosen] if self.share == 1 else None
        return self.merges.get(f"share {self.share:g}", whole)

    def measured(self, title: str, nodes: Mapping[str, Node]) -> dict[str, Outcome]:
        """Make models from the planted copy and measure each under all canaries; those that fail are left out."""
        evaluations = {
            name: [self.steps.measure(name, node, canary=canary) for canary in self.counted]
            for name, node in nodes.items()
        }
        graph = [*nodes.values(), *(each for every in evaluations.values() for each in every)]
        outcomes = self.make(title, graph, needed=False)
        found = {}
        for name, every in evaluations.items():
            if all(outcomes[each.name] in GOOD for each in every):
                figures = [self._figures(each) for each in every]
                found[name] = Outcome(
                    name=name,
                    accuracy=self.accuracy(every[0]),
                    asr=mean_asr(figures),
                    recovery=mean_recovery(figures, self.suspect),
                )
        return found

    def choose(self, outcomes: Sequence[Outcome]) -> Choice:
        """Choose by the rule and the configured bounds."""
        bounds = self.config.choice
        return choose_outcome(
            outcomes,
            floor=mean_asr(self.suspect),
            asr_bound=bounds.asr,
            recovery_bound=bounds.recovery,
        )

    @property
    def triggers(self) -> Path | None:
        """The scan whose triggers ``unlearn`` begins with."""
        return self.scanned.path if self.scanned and ScanDetails.of(self.scanned).trigger else None

    def seconds(self, candidate: Candidate) -> float:
        """How long the training of a candidate took."""
        return float(self.run(self.tried[str(candidate)]).manifest["seconds"])

    @property
    def chosen(self) -> Candidate:
        """The chosen candidate, once there is one."""
        (found,) = [each for each in self.outcomes if self.choice and str(each) == self.choice.name]
        return found

    def _tell_hidden(self, canary: Canary, suspect: CanaryFigures) -> None:
        """Warn where the suspect does not recognise images under a trigger that it should not know."""
        if suspect.ra is not None and suspect.ra < LEAST_RA:
            self.context.console.warn(
                f"Under the trigger of canary {canary} the suspect recognises {100 * suspect.ra:.1f} % of the images:"
                " the trigger hides the image, or is like the suspect's own. Its recovery does not count."
            )

    def _targets(self) -> list[str]:
        """The canaries' targets: given, or drawn without the one that the scan suspects."""
        if self.config.canaries.targets is not None:
            return list(self.config.canaries.targets)
        suspected = ScanDetails.of(self.scanned).target if self.scanned else None
        return draw_targets(
            self.found.classes,
            len(self.config.canaries.attacks),
            self.config.seed,
            without=suspected,
            usable=None if self.found.labelled else self._named(),
        )

    def _named(self) -> Callable[[str], bool]:
        """Whether enough captions of the held-out pairs name a class, for success that is measured by retrieval."""
        captions = RemainingPairs(self.found.pairs, self.found.shares.check).rest().captions()

        def usable(name: str) -> bool:
            pattern = target_pattern(name)
            return sum(pattern.search(caption) is not None for caption in captions) >= LEAST_NAMED

        return usable

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

    def accuracy(self, node: Node) -> float:
        """Clean accuracy that an evaluation has measured."""
        metrics: dict[str, Any] = self.run(node).metrics
        return float(metrics["ba@1" if self.found.labelled else "retrieval_i2t@1"])
