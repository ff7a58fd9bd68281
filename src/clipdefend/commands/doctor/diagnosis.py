"""Findings of ``clipdefend doctor``, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from clipdefend.console import Console, duration
from clipdefend.errors import ClipDefendError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        status: "ok", "warning", or "fault", which makes the run impossible.
        found: the finding, in one line.
    """

    name: str
    status: Literal["ok", "warning", "fault"] = "ok"
    found: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated cost of the run, extrapolated from small steps.

    Attributes:
        steps: number of optimiser steps.
        step_seconds, samples_per_second: speed of an average step, including waiting for data.
        training_seconds, evaluation_seconds, subcaption_seconds: parts of ``seconds``.
        data_bound: whether the steps wait for data.
        memory_bytes, memory_free: needed and free memory of the training device; on the CPU with the program itself.
        evaluation_bytes: memory that an evaluation needs.
        disk_bytes, disk_free: needed and free space on the run folder's disk.
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
        command: the command to be run.
        checks: the checks, in order.
        changes: flags that would make the run possible or faster, each with its reason.
        estimate: estimated cost; None if a fault prevented the trial steps.
    """

    command: str
    checks: list[Check] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    estimate: Estimate | None = None

    @property
    def faults(self) -> list[Check]:
        return [check for check in self.checks if check.status == "fault"]

    def attempt(self, name: str, function: Callable[[], tuple[T, str]]) -> T | None:
        """Record the finding of a function and return its value.

        Args:
            name: what is checked.
            function: returns a value, and the finding in one line.

        Returns:
            The value; None if the function raised ClipDefendError, which is recorded as a fault.
        """
        try:
            value, found = function()
        except ClipDefendError as error:
            self.checks.append(Check(name=name, status="fault", found=str(error)))
            return None
        self.checks.append(Check(name=name, found=found))
        return value

    @property
    def verdict(self) -> str:
        """The verdict, in one line."""
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
        """Print a table of the checks, and what to change."""
        rows = [(check.name, check.status, check.found) for check in self.checks]
        console.table(f"clipdefend {self.command}", ("check", "", "found"), rows, text=True)
        for line in self.changes:
            console.info(f"change: {line}")

    def to_dict(self) -> dict[str, Any]:
        """Return ``healthy``, ``checks``, ``changes`` and ``estimate`` (in seconds and bytes) as plain data."""
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
    """Format a number of bytes, such as "0.31 GB", of 10^9 bytes."""
    return f"{number / 1e9:.2f} GB"
