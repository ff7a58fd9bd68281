"""One run of a study, in a process of its own: made, resumed, or left as it is where it is finished."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from clipdefend.errors import RunError
from clipdefend.runs import MANIFEST, STATE, UNFINISHED, Run
from clipdefend.runs.lock import acquire, release
from clipdefend.study.fork_server import ForkServers

LOG = "study.jsonl"
THERE, MADE, FAILED, SKIPPED, STOPPED = "there", "made", "failed", "skipped", "stopped"
GOOD = (THERE, MADE)
_WAIT = 0.5

_servers = ForkServers()
_stopping: list[bool] = []


@dataclass(frozen=True)
class Job:
    """What a worker must know, in a form that can be sent to another machine that shares the folder.

    Attributes:
        name: of the run and its folder.
        command: that makes it.
        folder: of the study, absolute.
        source: name of its input run.
        sharing: number of runs that share the cores of the machine that makes it.
    """

    name: str
    command: str
    folder: str
    source: str | None
    sharing: int

    @property
    def threads(self) -> int:
        """Threads of the run on this machine; a Slurm job counts its own cores."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
        return max(1, (min(cores, int(allotted)) if allotted.isdigit() else cores) // self.sharing)


def carry_out(job: Job, parents: list[str]) -> str:
    """Make one run unless it is finished.

    Args:
        job: the run.
        parents: what became of each of its parents.

    Returns:
        THERE, MADE, FAILED, SKIPPED for a parent that is not there, or STOPPED.
    """
    if _stopping:
        return STOPPED
    if any(parent not in GOOD for parent in parents):
        return STOPPED if STOPPED in parents else SKIPPED
    run = Path(job.folder, job.name)
    _wait_for_others(run)
    if _stopping:
        return STOPPED
    if (run / MANIFEST).is_file():
        return FAILED if is_rejected(run) else THERE
    start = time.time()
    code = _call(job, run)
    # A child that another study run's interruption has left behind may have written the manifest by now.
    state = MADE if code == 0 else STOPPED if _stopping else FAILED
    line = {
        "name": job.name,
        "command": job.command,
        "state": state,
        "seconds": round(time.time() - start, 1),
    }
    with Path(job.folder, LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    return state


def seconds_spent(folder: Path) -> float:
    """Return how long the runs took that were made, or begun and stopped, in a folder; 0 if none were."""
    log = folder / LOG
    if not log.is_file():
        return 0.0
    lines = log.read_text(encoding="utf-8").splitlines()
    return math.fsum(float(json.loads(line)["seconds"]) for line in lines if line.endswith("}"))


def is_rejected(run: Path) -> bool:
    """Return whether a finished run is a victim that does not meet ``accept``, from which nothing is made."""
    return Run.open(run).details.get("accepted") is False


def stop() -> None:
    """Interrupt the runs of this process, which keep what can be resumed, and begin no more."""
    _stopping.append(True)
    _servers.interrupt()


def end() -> None:
    """End the processes that make runs, between runs."""
    _servers.close()


def _call(job: Job, run: Path) -> int:
    words = [job.command, "--runs", job.folder, "--quiet"]
    if _has_state(run):
        words += ["--resume", str(run)]
    else:
        shutil.rmtree(run, ignore_errors=True)  # it was killed before there was anything to resume
        words += ["--config", str(Path(job.folder, "settings", f"{job.name}.yaml")), "--out", str(run)]
        words += ["--from", str(Path(job.folder, job.source))] if job.source else []
    threads = {"OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
    log = Path(job.folder, "logs", f"{job.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    return _servers.run(words, log, {**os.environ, **threads})


def _has_state(run: Path) -> bool:
    return (run / UNFINISHED).is_file() and (run / STATE).is_dir() and any((run / STATE).iterdir())


def _wait_for_others(run: Path) -> None:
    """Wait until no other process writes the run, such as one that outlived its study, or until `stop`."""
    while (run / UNFINISHED).is_file() and not (run / MANIFEST).is_file() and not _stopping:
        try:
            acquire(run / UNFINISHED)
        except RunError:
            time.sleep(_WAIT)
            continue
        except OSError:  # it has just gone
            return
        release(run / UNFINISHED)
        return
