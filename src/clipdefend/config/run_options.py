# option() and nested() return dataclass fields
"""The base of all configurations: what every command has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

from clipdefend.config.fields import SHARE, Config, Range, option
from clipdefend.config.kinds import kind_of


def default_workers() -> int:
    """Cores that this process may use, less one for the training itself; between 0 and 4."""
    count = getattr(os, "sched_getaffinity", None)
    cores = len(count(0)) if count else os.cpu_count() or 1
    return max(0, min(4, cores - 1))


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """What every command has.

    ``sources`` are the kinds of its one input run, as ``KINDS`` has them; ``many`` is set where it reads any number
    of any kind. ``argument`` and ``argument_help`` are the words of its positional arguments in the help.
    """

    command: ClassVar[str]
    group: ClassVar[str]
    sources: ClassVar[tuple[str, ...]] = ()
    many: ClassVar[bool] = False
    argument: ClassVar[str] = "RUN"
    argument_help: ClassVar[str] = ""
    exclusive: ClassVar[tuple[str, ...]] = ()
    data_key: ClassVar[str] = "data"
    stand_ins: ClassVar[tuple[str, ...]] = ("checkpoint",)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.sources = kind_of(cls.command).inputs

    preset: Literal["paper", "quick", "pretrain"] = option(
        "paper",
        "--preset",
        "Default values: those of the papers, small ones for the built-in world, or those of training"
        " a victim from random weights.",
        shown="quick for built-in data, otherwise paper",
        group="Run",
    )
    seed: int = option(
        0, "--seed", "Random seed of the run.", range=Range(low=0, high=2**63 - 1), group="Run"
    )
    workers: int = option(
        None,
        "--workers",
        "Number of worker processes that read and decode images.",
        factory=default_workers,
        shown="one less than the cores, at most 4",
        range=Range(low=0, high=512),
        group="Run",
    )
    max_bad: float = option(
        0.01,
        "--max-bad",
        "Largest fraction of bad rows or images to skip before the run stops.",
        range=SHARE,
        group="Run",
    )
