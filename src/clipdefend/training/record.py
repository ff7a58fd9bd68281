"""Writes ``metrics.jsonl`` and the resume state during a training run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipdefend.distributed import launch
from clipdefend.draws import draw_seed
from clipdefend.training.job import Job
from clipdefend.training.state import Progress, load_state, save_state
from clipdefend.training.timetable import Timetable
from clipdefend.training.trackers import Trackers


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Records a run; the main process writes, all processes read.

    Attributes:
        folder: the run folder.
        fingerprint: hash of everything that changes the steps.
        trackers: receive every record.
        processes: number of processes.
    """

    folder: Path
    fingerprint: str
    trackers: Trackers
    processes: int = 1

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def log(self, record: dict[str, Any], step: int) -> None:
        """Append a line to ``metrics.jsonl``.

        Args:
            record: the line.
            step: number of finished optimiser steps, for the trackers.
        """
        if launch.current().main:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.trackers.log(record, step)

    def save(self, progress: Progress, tensors: dict[str, Any]) -> None:
        """Save the resume state."""
        if launch.current().main:
            progress.metrics_bytes = self.metrics.stat().st_size if self.metrics.exists() else 0
            save_state(self.folder / "state", progress, tensors)

    def restore(self) -> tuple[Progress, dict[str, Any]] | None:
        """Return the last state, or None; log lines after it are removed."""
        loaded = load_state(self.folder / "state", self.fingerprint, self.processes)
        if not launch.current().main:
            return loaded
        if loaded is None:
            self.metrics.unlink(missing_ok=True)
        elif self.metrics.exists():
            os.truncate(self.metrics, min(loaded[0].metrics_bytes, self.metrics.stat().st_size))
        return loaded


def fingerprint(job: Job, timetable: Timetable) -> str:
    """Return a hash of everything that changes the steps, which must agree when a run is resumed."""
    config = asdict(job.config)
    for free in ("resume", "keep_state", "save_every", "report_to", "device", "log_every", "term_shares"):
        config.pop(free)
    # YAML turns a float such as 1.0 into 1 and back, so integers and floats are treated alike.
    config = {key: float(value) if type(value) is int else value for key, value in config.items()}
    plans = [(stage.plan.world, stage.plan.subset, stage.plan.schedule) for stage in timetable.stages]
    rows = [None if phase.rows is None else phase.rows.tolist() for phase in job.phases]
    facts: list[Any] = [config, type(job.defence).__name__, job.defence.to_dict()]
    facts += [[phase.to_dict() for phase in job.phases], rows, plans]
    facts += [job.pairs.fingerprint, asdict(job.canvas), job.seed]
    return f"{draw_seed(0, json.dumps(facts, sort_keys=True, default=str)):x}"
