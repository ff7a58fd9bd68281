"""Resume state: written to a temporary name, synced and renamed, so that a kill leaves the last one whole."""

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
    """Where a training run stands.

    Attributes:
        epoch: epochs finished, over all phases.
        step: steps of the current epoch finished; above 0 the defence has begun that epoch.
        global_step: optimiser steps finished.
        metrics_bytes: length of ``metrics.jsonl`` at this point; what lies behind is of a lost future.
        best: best value of the selection so far.
        best_epoch: its epoch; a fraction for an evaluation within one.
        stopped: the epoch that reached ``--stop-at``.
        start: metrics before the first step.
        evaluated: metrics of the last evaluated epoch.
        bad: row -> why it could not be used.
        extra_steps: steps that carried a sub-caption batch.
        norms: of the current epoch, see ``clipdefend.training.term_shares.TermShares``.
        seconds: training time so far.
        fingerprint: of the configuration.
        processes: how many there are.
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
    """Write progress and state dicts (of model, optimiser, scaler) atomically.

    Raises:
        OSError: the disk refuses, such as when it is full; the last state is still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(folder / NAME) as file:
            torch.save({"progress": asdict(progress), **tensors}, file)
    except (OSError, RuntimeError) as error:
        raise _real_cause(error) from error


def _real_cause(error: BaseException) -> BaseException:
    """What the disk said, or Ctrl-C: torch's writer, which cannot close its file then, raises an error of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError | KeyboardInterrupt):
        cause = cause.__context__
    return cause or error


def load_state(folder: Path, fingerprint: str, processes: int = 1) -> tuple[Progress, dict[str, Any]] | None:
    """Read the state of a run, or None where it has none.

    Raises:
        RunError: damaged, or of another configuration or number of processes.
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
            f"The run was begun with {_count(progress.processes)} and there {'is' if processes == 1 else 'are'}"
            f" {_count(processes)} now: resume it with as many as it began with."
        )
    if progress.fingerprint != fingerprint:
        raise RunError(
            f"Resume state {path} is of another configuration: resume with the same flags as the run."
        )
    return progress, state


def _count(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"
