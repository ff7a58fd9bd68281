"""The gates of ``evaluate``: their references, their verdicts and the reports of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipdefend.commands.shared.gate_report import check_file, tell_gates
from clipdefend.config import EvaluateConfig, GatesConfig, offering
from clipdefend.errors import ConfigError
from clipdefend.evaluation.setting import EvaluationSetting, find_trigger_run
from clipdefend.gates.verdict import SHARES, Gate, judge
from clipdefend.runs import Context, Run, find_run

FLAGS = {
    "data": "--eval-data",
    "root": "--eval-root",
    "split": "--eval-split",
    "class_names": "--class-names",
    "templates": "--templates",
    "quick": "--quick",
    "canvas": "--canvas",
}
"""The flag of each fact that evaluations must share for their BA to be compared."""


@dataclass
class Gates:
    """The gates of one evaluation, checked before anything is computed."""

    config: GatesConfig
    against: Run | None
    verdicts: list[Gate] = field(default_factory=list)

    @classmethod
    def of(cls, config: EvaluateConfig, context: Context, *, has_trigger: bool) -> Gates:
        """Resolve the gates of a configuration.

        Raises:
            ConfigError: a gate of ASR or RA without a trigger, or a run without the BA to compare with.
            RunError: no such run.
        """
        gates = config.gates
        of_attack = [flag for flag in gates.bounds if not SHARES[flag].startswith("ba")]
        if of_attack and not has_trigger:
            raise ConfigError(f"{of_attack[0]} needs a trigger: give the poison run with --attack-from.")
        if gates.junit is not None:
            check_file(gates.junit, "--junit")
        if gates.against is None:
            return cls(gates, None)
        against = find_run(context.runs, offering("measured"), gates.against)
        lacking = [k for k in gates.bounds["--max-ba-drop"] if f"ba@{k}" not in against.metrics]
        if lacking:
            raise ConfigError(
                f"Run {against.name} has no BA@{lacking[0]} for --max-ba-drop: evaluate it with"
                f" --topk {','.join(map(str, sorted({1, *config.eval.topk})))}, and give that run."
            )
        return cls(gates, against)

    def check_comparable(self, setting: EvaluationSetting) -> None:
        """Raise ConfigError where BA was measured under other conditions in the run that it is compared with."""
        if self.against is None:
            return
        theirs = EvaluationSetting.of(self.against, find_trigger_run(self.against))
        for name, (own, other) in setting.differences(theirs, attack=False).items():
            flag = FLAGS[name]
            raise ConfigError(
                f"Run {self.against.name} was measured with {_given(flag, other)} and this one is with"
                f" {_given(flag, own)}: --max-ba-drop compares the same images, prompts and geometry only. Give the"
                " same here, or another run to --against."
            )

    def judge(self, metrics: Mapping[str, float]) -> list[dict[str, Any]]:
        """Reach the verdicts; returns what a manifest records of them."""
        against = (self.against.name, self.against.metrics) if self.against else None
        self.verdicts = judge(self.config.bounds, metrics, against)
        return [
            {"gate": gate.name, "value": gate.value, "passed": gate.passed, "against": self.config.against}
            if gate.flag == "--max-ba-drop"
            else {"gate": gate.name, "value": gate.value, "passed": gate.passed}
            for gate in self.verdicts
        ]

    def tell(self, context: Context, finished: Run) -> None:
        """Say, write and annotate the verdicts.

        Raises:
            GateFailed: a bound was missed; everything has been written.
        """
        tell_gates(self.verdicts, self.config.junit, self.config.annotations, context, finished)


def _given(flag: str, value: object) -> str:
    """A flag with its value for people."""
    return f"no {flag}" if value is None else f"{flag} {value}"
