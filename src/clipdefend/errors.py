"""Errors that the user can fix: each becomes one red line and exit code 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class ClipDefendError(Exception):
    """A mistake of the user's: the message says what was given, what is allowed and what to do."""

    def __str__(self) -> str:
        """The message alone, also where a loader's worker has wrapped its traceback around it."""
        text = super().__str__()
        mark = f"{type(self).__module__}.{type(self).__qualname__}: "
        wrapped = text.startswith("Caught ") and mark in text
        return text.rpartition(mark)[2].strip() if wrapped else text


class ConfigError(ClipDefendError):
    """A flag, a key of a configuration file or a ``--set`` that does not fit."""


class DataError(ClipDefendError):
    """Pairs, images, labels or captions that cannot be used."""


class CheckpointError(ClipDefendError):
    """Weights that are missing, unsafe or of another model."""


class RemoteError(ClipDefendError):
    """Remote data that cannot be reached: no fault of a row, so nothing is skipped for it."""


class RunError(ClipDefendError):
    """A run folder that is missing, unfinished, damaged or of the wrong kind."""


class Interrupted(Exception):  # noqa: N818  # no error: the user's wish
    """A run was stopped on demand.

    Args:
        folder: the run, which ``--resume`` continues unless it is finished; None when nothing was kept.
        finished: whether the manifest had been written, so that nothing is left to do.
        partial: whether the folder contains several runs, of which the same command makes the missing ones.
    """

    def __init__(self, folder: Path | None = None, *, finished: bool = False, partial: bool = False) -> None:
        super().__init__(f"interrupted: {folder}" if folder else "interrupted")
        self.folder = folder
        self.finished = finished
        self.partial = partial


class Stopped(Exception):  # noqa: N818  # its cause is the error
    """An error, the cause, ended a run that can be resumed from its last state once the error is fixed.

    Args:
        folder: the unfinished run, which ``--resume`` continues.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"stopped: {folder}")
        self.folder = folder


class EndedElsewhere(Exception):  # noqa: N818  # no error of this process
    """Another process of the run has ended it, and says why."""


class GateFailed(Exception):  # noqa: N818  # no error: an answer
    """A finished run is outside a bound that was set.

    Args:
        manifest: the finished run's manifest.
        gates: a sentence for each gate that failed.
    """

    def __init__(self, manifest: Path, gates: Sequence[str]) -> None:
        super().__init__("; ".join(gates))
        self.manifest = manifest
        self.gates = list(gates)
