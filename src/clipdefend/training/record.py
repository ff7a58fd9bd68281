"""What a training leaves on the disk while it runs: ``metrics.jsonl`` and the resume state."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipdefend.draws import draw_seed
from clipdefend.training.job import Job
from clipdefend.training.plan import Plan
from clipdefend.training.state import Progress, load_state, save_state
from clipdefend.training.trackers import Trackers


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Writes on the main process, reads on all.

    Attributes:
        folder: the run's.
        fingerprint: of everything that changes the steps.
        trackers: told of every record.
        processes: how many there are.
        writes: whether this is the main process.
    """

    folder: Path
    fingerprint: str
    trackers: Trackers
    processes: int = 1
    writes: bool = True

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def log(self, record: dict[str, Any], step: int) -> None:
        """Append a line to ``metrics.jsonl``; ``step``: optimiser steps finished."""
        if self.writes:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.trackers.log(record, step)

    def save(self, progress: Progress, tensors: dict[str, Any]) -> None:
        """Write the resume state."""
        if self.writes:
            progress.metrics_bytes = self.metrics.stat().st_size if self.metrics.exists() else 0
            save_state(self.folder / "state", progress, tensors)

    def restore(self) -> tuple[Progress, dict[str, Any]] | None:
        """The last state, or None; what the log holds beyond it is cut off."""
        loaded = load_state(self.folder / "state", self.fingerprint, self.processes)
        if not self.writes:
            return loaded
        if loaded is None:
            self.metrics.unlink(missing_ok=True)
        elif self.metrics.exists():
            os.truncate(self.metrics, min(loaded[0].metrics_bytes, self.metrics.stat().st_size))
        return loaded


def fingerprint(job: Job, plan: Plan) -> str:
    """What must be equal for a state to be continued: everything that changes the steps."""
    config = asdict(job.config)
    for free in ("resume", "keep_state", "save_every", "report_to", "device", "log_every"):
        config.pop(free)
    facts: list[Any] = [config, job.objective.to_dict(), job.pairs.fingerprint, asdict(job.canvas)]
    facts += [job.seed, plan.world, plan.subset, plan.schedule]
    return f"{draw_seed(0, json.dumps(facts, sort_keys=True, default=str)):x}"
