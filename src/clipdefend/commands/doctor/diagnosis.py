"""What ``clipdefend doctor`` found, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from clipdefend.console import Console, duration
from clipdefend.errors import ClipDefendError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: "fault" makes the run impossible.
        found: one line.
    """

    name: str
    status: Literal["ok", "warning", "fault"] = "ok"
    found: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the run will take, extrapolated from small steps.

    Attributes:
        steps: optimiser steps.
        step_seconds, samples_per_second: of a mean step, waiting for data included.
        training_seconds, evaluation_seconds, subcaption_seconds: parts of ``seconds``.
        data_bound: whether the steps wait for data.
        memory_bytes, memory_free: of the device that trains; on the CPU with the program itself.
        evaluation_bytes: what of that an evaluation needs, where it is the most.
        disk_bytes, disk_free: of the run folder's disk.
    """

    steps: int
    step_seconds: float
    samples_per_second: float
    training_seconds: float
    evaluation_seconds: float
    subcaption_seconds: float
    data_bound: bool
    memory_bytes: int
    memory_free: int
    evaluation_bytes: int
    disk_bytes: int
    disk_free: int

    @property
    def seconds(self) -> float:
        return self.training_seconds + self.evaluation_seconds + self.subcaption_seconds


@dataclass(kw_only=True)
class Diagnosis:
    """All findings about a configuration.

    Attributes:
        command: the command that it is for.
        checks: in the order of the looking.
        changes: flags that would make the run possible or faster, each with its reason.
        estimate: None where a fault kept the steps from being tried.
    """

    command: str
    checks: list[Check] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    estimate: Estimate | None = None

    @property
    def faults(self) -> list[Check]:
        return [check for check in self.checks if check.status == "fault"]

    def attempt(self, name: str, function: Callable[[], tuple[T, str]]) -> T | None:
        """Note what a function finds, and return its value; None where it fails, which is a fault."""
        try:
            value, found = function()
        except ClipDefendError as error:
            self.checks.append(Check(name=name, status="fault", found=str(error)))
            return None
        self.checks.append(Check(name=name, found=found))
        return value

    @property
    def verdict(self) -> str:
        """One line."""
        if self.faults:
            return f"{self.command}: impossible, {', '.join(check.name for check in self.faults)}"
        if self.estimate is None:
            return f"{self.command}: healthy"
        e = self.estimate
        return (
            f"{self.command}: healthy, {e.steps:,} steps in about {duration(e.seconds)},"
            f" {gigabytes(e.memory_bytes)} of memory, {gigabytes(e.disk_bytes)} of disk"
        )

    def show(self, console: Console) -> None:
        """A table of the checks, and what to change."""
        rows = [(check.name, check.status, check.found) for check in self.checks]
        console.table(f"clipdefend {self.command}", ("check", "", "found"), rows, text=True)
        for line in self.changes:
            console.info(f"change: {line}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``healthy``, ``checks``, ``changes`` and ``estimate``, seconds and bytes."""
        estimate = asdict(self.estimate) | {"seconds": self.estimate.seconds} if self.estimate else None
        return {
            "command": self.command,
            "healthy": not self.faults,
            "verdict": self.verdict,
            "checks": [asdict(check) for check in self.checks],
            "changes": list(self.changes),
            "estimate": estimate,
        }


def gigabytes(number: float) -> str:
    """Such as "0.31 GB", of 10^9 bytes."""
    return f"{number / 1e9:.2f} GB"
