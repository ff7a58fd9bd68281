# option() returns dataclass fields
"""How a command is run, as opposed to what it does: none of this changes a result or is recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from clipdefend.config.fields import Config, option

RUNS_VARIABLE = "CLIPDEFEND_RUNS"
# Takes the command line of one of these and looks whether it would work, the first where none is named.
DOCTOR = "doctor"
DOCTOR_COMMANDS = ("defend", "finetune-attack")


def default_runs() -> str:
    """``$CLIPDEFEND_RUNS``, else ``runs``."""
    return os.environ.get(RUNS_VARIABLE) or "runs"


@dataclass(frozen=True, kw_only=True)
class Invocation(Config):
    """Flags that every command has beside its configuration."""

    group: ClassVar[str] = "Run"

    source: str | None = option(
        None,
        "--from",
        "Input run: its folder, its manifest.yaml, its name, or - for a path on standard input.",
        metavar="RUN",
        shown="the newest that fits",
    )
    out: str | None = option(
        None, "--out", "Folder of the new run.", metavar="DIR", shown="RUNS/NNN-COMMAND-LABEL"
    )
    runs: str = option(
        None,
        "--runs",
        f"Folder of all runs; also by ${RUNS_VARIABLE}.",
        factory=default_runs,
        shown="runs",
        metavar="DIR",
    )
    file: str | None = option(
        None, "--config", "YAML file of keys, or the manifest of a run to repeat.", metavar="FILE"
    )
    sets: tuple[str, ...] = option(
        (), "--set", "Set any key that --dry-run shows; repeatable.", metavar="KEY=VALUE"
    )
    dry_run: bool = option(False, "--dry-run", "Print the resolved configuration as YAML and stop.")
    json: bool = option(False, "--json", "Print the whole manifest as JSON instead of its path.")
    quiet: bool = option(False, "--quiet", "Show warnings and errors only.")


@dataclass(frozen=True, kw_only=True)
class PoisonInvocation(Invocation):
    """What only ``poison`` has."""

    list: bool = option(False, "--list", "Print triggers, published variants and methods, and stop.")


@dataclass(frozen=True, kw_only=True)
class ReportInvocation(Invocation):
    """``report`` writes no run."""

    out: str | None = option(
        None,
        "--out",
        "Folder of the report; an earlier report there is replaced.",
        metavar="DIR",
        shown="report",
    )


def invocation_class(command: str) -> type[Invocation]:
    """The flags of a command that are no configuration."""
    own: dict[str, type[Invocation]] = {"poison": PoisonInvocation, "report": ReportInvocation}
    return own.get(command, Invocation)
