"""Failed gates as GitHub's workflow commands, which a workflow's summary and its pull request show."""

from __future__ import annotations

import os
from collections.abc import Sequence

from clipdefend.gates.verdict import Judged


def is_github() -> bool:
    """Whether a GitHub workflow is running this program."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def github_errors(gates: Sequence[Judged]) -> list[str]:
    """A line ``::error title=...::...`` for each gate that failed.

    Reference: GitHub's "Workflow commands", whose escapes are those of actions/toolkit's command.ts.
    """
    return [
        f"::error title={_escape(f'clipdefend gate {gate.name}', ':,')}::{_escape(gate.sentence)}"
        for gate in gates
        if not gate.passed
    ]


def _escape(text: str, more: str = "") -> str:
    """Percent-encode what would end a workflow command or a part of it; the sign itself first."""
    for char in f"%\r\n{more}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text
