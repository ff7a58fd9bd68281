"""Resume state, written atomically, so that the previous state survives a kill."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from clipdefend.errors import RunError
from clipdefend.runs.files import atomic_file

NAME = "state.pt"


@dataclass
class Progress:
    """Progress of a training run.

    Attributes:
        epoch: number of finished epochs, over all phases.
        step: number of finished steps of the current epoch; if it is above 0, the defence has begun that epoch.
        global_step: number of finished optimiser steps.
        metrics_bytes: length of ``metrics.jsonl`` at this point; resuming discards whatever follows.
        best: best value of the selection so far.
        best_epoch: epoch of the best value; fractional for an evaluation within an epoch.
        stopped: epoch at which ``--stop-at`` was met.
        start: metrics before the first step.
        evaluated: metrics of the last evaluated epoch.
        bad: row -> why it could not be used.
        extra_steps: number of steps that had a sub-caption batch.
        norms: gradient norms of the current epoch, see ``clipdefend.training.term_shares.TermShares``.
        seconds: training time so far.
        fingerprint: hash of everything that changes the steps.
        processes: number of processes.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    metrics_bytes: int = 0
    best: float | None = None
    best_epoch: float = 0
    stopped: float | None = None
    start: dict[str, float] = field(default_factory=dict)
    evaluated: dict[str, float] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)
    extra_steps: int = 0
    norms: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    fingerprint: str = ""
    processes: int = 1


def save_state(folder: Path, progress: Progress, tensors: dict[str, Any]) -> None:
    """Write progress and state dicts atomically.

    Args:
        folder: folder of the state, created if it does not exist.
        progress: progress of the run.
        tensors: state dicts of model, optimiser, defence and scaler.

    Raises:
        OSError: writing failed, for example because the disk is full; the previous state is intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(folder / NAME) as file:
            torch.save({"progress": asdict(progress), **tensors}, file)
    except (OSError, RuntimeError) as error:
        raise _real_cause(error) from error


def _real_cause(error: BaseException) -> BaseException:
    """Return the OSError or KeyboardInterrupt behind an error of torch's writer, which hides it by failing to close."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError | KeyboardInterrupt):
        cause = cause.__context__
    return cause or error


def load_state(folder: Path, fingerprint: str, processes: int = 1) -> tuple[Progress, dict[str, Any]] | None:
    """Read the state of a run; return None if it has none.

    Raises:
        RunError: the state is damaged, or belongs to another configuration or number of processes.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        progress = Progress(**state.pop("progress"))
    except Exception as error:  # torch and pickle raise many kinds for one cause: a damaged file
        raise RunError(f"Resume state {path} is damaged: remove the run folder and start again.") from error
    if progress.processes != processes:
        raise RunError(
            f"The run was started with {_count(progress.processes)}, but there {'is' if processes == 1 else 'are'}"
            f" {_count(processes)} now: resume it with the same number."
        )
    if progress.fingerprint != fingerprint:
        raise RunError(
            f"Resume state {path} belongs to another configuration: resume with the flags that the run started with."
        )
    return progress, state


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"
