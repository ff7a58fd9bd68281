"""Flags about how a command is run rather than what it does: they change no result and are not recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from clipdefend.config import COMMANDS, Leaf, leaves
from clipdefend.config.fields import Config, option

RUNS_VARIABLE = "CLIPDEFEND_RUNS"
DOCTOR = "doctor"
# The commands that it examines, the first by default.
Examined = Literal["defend", "finetune-attack"]
DOCTOR_COMMANDS: tuple[str, ...] = get_args(Examined)


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
        "Input run: its folder, its manifest.yaml, its name, or - to read a path from standard input.",
        metavar="RUN",
        shown="the newest that fits",
    )
    out: str | None = option(
        None, "--out", "Folder for the new run.", metavar="DIR", shown="RUNS/NNN-COMMAND-LABEL"
    )
    runs: str = option(
        None,
        "--runs",
        f"Folder of all runs; ${RUNS_VARIABLE}.",
        factory=default_runs,
        shown="runs",
        metavar="DIR",
    )
    file: str | None = option(
        None, "--config", "YAML file with settings, or the manifest of a run to repeat.", metavar="FILE"
    )
    sets: tuple[str, ...] = option(
        (), "--set", "Set any key that --dry-run prints; can be given several times.", metavar="KEY=VALUE"
    )
    dry_run: bool = option(False, "--dry-run", "Print the resolved configuration as YAML and exit.")
    json: bool = option(False, "--json", "Print the whole manifest as JSON instead of its path.")
    quiet: bool = option(False, "--quiet", "Show warnings and errors only.")


@dataclass(frozen=True, kw_only=True)
class PoisonInvocation(Invocation):
    """What only ``poison`` has."""

    list: bool = option(False, "--list", "List triggers, published variants and methods, and exit.")


@dataclass(frozen=True, kw_only=True)
class CleanInvocation(Invocation):
    """What only ``clean`` has."""

    plan: bool = option(False, "--plan", "List the runs that it takes and their cost, and exit.")


@dataclass(frozen=True, kw_only=True)
class ReportInvocation(Invocation):
    """``report`` writes no run."""

    out: str | None = option(
        None,
        "--out",
        "Folder for the report; an earlier report in it is replaced.",
        metavar="DIR",
        shown="report",
    )


@dataclass(frozen=True, kw_only=True)
class DoctorInvocation(Invocation):
    """``doctor`` writes no run."""

    command: Examined = option(
        "defend", "--command", "Command to check; the flags below are those of that command."
    )
    out: str | None = option(None, "Not used.")
    dry_run: bool = option(False, "--dry-run", "Print the configuration of that command as YAML and exit.")
    json: bool = option(False, "--json", "Print all findings as JSON instead of the verdict.")


def invocation_class(command: str) -> type[Invocation]:
    """The flags of a command that are not part of its configuration."""
    own: dict[str, type[Invocation]] = {
        "poison": PoisonInvocation,
        "clean": CleanInvocation,
        "report": ReportInvocation,
        DOCTOR: DoctorInvocation,
    }
    return own.get(command, Invocation)


def option_leaves(command: str) -> Mapping[str, Leaf]:
    """Dotted path -> leaf of a command's configuration; the doctor takes what any command it examines does."""
    if command != DOCTOR:
        return leaves(COMMANDS[command])
    found: dict[str, Leaf] = {}
    for name in DOCTOR_COMMANDS:
        found = {**leaves(COMMANDS[name]), **found}
    found.pop("train.resume")  # it examines a run that has not started
    return found
