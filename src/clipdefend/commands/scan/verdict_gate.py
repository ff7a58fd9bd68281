"""``--fail-if``: a gate on the verdict of a scan."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.inversion.scan_verdict import BACKDOORED, CLEAN, ScanVerdict


@dataclass(frozen=True)
class VerdictGate:
    """A gate and the verdict that it checks.

    Attributes:
        fails: "backdoored", or "not-clean", which also fails on "cannot tell".
        verdict: verdict of the scan.
    """

    fails: str
    verdict: ScanVerdict

    @property
    def flag(self) -> str:
        return "--fail-if"

    @property
    def name(self) -> str:
        """Description of the gate, whatever the scan found."""
        return f"verdict is not {self.fails}" if self.fails == BACKDOORED else "verdict is clean"

    @property
    def passed(self) -> bool:
        word = self.verdict.word
        return word != BACKDOORED if self.fails == BACKDOORED else word == CLEAN

    @property
    def sentence(self) -> str:
        """The verdict with its reason."""
        return f"the verdict is {self.verdict.word!r}: {self.verdict.reason}"
