"""What a training run leaves on the disk while it runs: ``metrics.jsonl`` and the resume state."""

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
    """Writes on the main process, reads on all.

    Attributes:
        folder: the run's.
        fingerprint: of everything that changes the steps.
        trackers: told of every record.
        processes: how many there are.
    """

    folder: Path
    fingerprint: str
    trackers: Trackers
    processes: int = 1

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def log(self, record: dict[str, Any], step: int) -> None:
        """Append a line to ``metrics.jsonl``; ``step``: optimiser steps finished."""
        if launch.current().main:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.trackers.log(record, step)

    def save(self, progress: Progress, tensors: dict[str, Any]) -> None:
        """Write the resume state."""
        if launch.current().main:
            progress.metrics_bytes = self.metrics.stat().st_size if self.metrics.exists() else 0
            save_state(self.folder / "state", progress, tensors)

    def restore(self) -> tuple[Progress, dict[str, Any]] | None:
        """The last state, or None; what the log holds beyond it is cut off."""
        loaded = load_state(self.folder / "state", self.fingerprint, self.processes)
        if not launch.current().main:
            return loaded
        if loaded is None:
            self.metrics.unlink(missing_ok=True)
        elif self.metrics.exists():
            os.truncate(self.metrics, min(loaded[0].metrics_bytes, self.metrics.stat().st_size))
        return loaded


def fingerprint(job: Job, timetable: Timetable) -> str:
    """What must be equal for a state to be continued: everything that changes the steps."""
    config = asdict(job.config)
    for free in ("resume", "keep_state", "save_every", "report_to", "device", "log_every", "term_shares"):
        config.pop(free)
    # A whole number that stands for a float is read back from a recorded configuration as one: 1 and 1.0 are equal.
    config = {key: float(value) if type(value) is int else value for key, value in config.items()}
    plans = [(stage.plan.world, stage.plan.subset, stage.plan.schedule) for stage in timetable.stages]
    rows = [None if phase.rows is None else phase.rows.tolist() for phase in job.phases]
    facts: list[Any] = [config, type(job.defence).__name__, job.defence.to_dict()]
    facts += [[phase.to_dict() for phase in job.phases], rows, plans]
    facts += [job.pairs.fingerprint, asdict(job.canvas), job.seed]
    return f"{draw_seed(0, json.dumps(facts, sort_keys=True, default=str)):x}"
