# option() and nested() return dataclass fields
"""The configuration of ``study``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clipdefend.config.fields import COUNT, option
from clipdefend.config.model_options import device_option
from clipdefend.config.run_options import RunConfig


@dataclass(frozen=True, kw_only=True)
class StudyConfig(RunConfig):
    """Make all runs of a grid that a YAML file describes, and report them: plan FILE, run FILE or report FILE."""

    command: ClassVar[str] = "study"
    many: ClassVar[bool] = True
    group: ClassVar[str] = "Study"
    argument: ClassVar[str] = "ACTION FILE"
    argument_help: ClassVar[str] = (
        "plan: list the runs, their cost and what is there; run: make what is missing; report: tables and plots."
    )

    jobs: int = option(
        1,
        "--jobs",
        "Number of runs at a time, which share the cores; with --scheduler, number of workers on a machine.",
        range=COUNT,
    )
    scheduler: str | None = option(
        None, "--scheduler", "Address of a Dask scheduler whose workers make the runs.", metavar="ADDRESS"
    )
    no_measure: bool = option(
        False,
        "--no-measure",
        "Plan without measuring training steps: costs are those of runs that were made.",
    )
    device: str = device_option()
