"""Makes the runs of a graph and tells of their progress, for the commands that consist of other commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipdefend.config import to_yaml
from clipdefend.console import Console
from clipdefend.runs import MANIFEST, UNFINISHED, atomic_write
from clipdefend.study.carry_out import FAILED, MADE, SKIPPED, STOPPED, Job, is_rejected
from clipdefend.study.engine import run_graph
from clipdefend.study.grid import Node

LOGS = "logs"


@dataclass
class _Progress:
    """Tells what has ended, and how long the rest will take at the pace so far."""

    console: Console
    total: int
    describe: Callable[[str], str]
    start: float = field(default_factory=time.monotonic)
    ended: int = 0
    made: int = 0

    def tell(self, name: str, outcome: str) -> None:
        self.ended += 1
        self.made += outcome == MADE
        pace = (time.monotonic() - self.start) / self.made if self.made else 0.0
        left = f", about {show_seconds(pace * (self.total - self.ended))} left" if pace else ""
        self.console.info(f"{self.ended} of {self.total}: {self.describe(name)} {outcome}{left}")


def make_runs(
    folder: Path,
    nodes: Sequence[Node],
    jobs: int,
    console: Console,
    *,
    scheduler: str | None = None,
    describe: Callable[[str], str] = str,
) -> dict[str, str]:
    """Make the runs that are missing, each in a process of its own.

    Args:
        folder: of the runs; their settings and logs are written beside them.
        nodes: the runs, parents before children; a parent that is not among them is taken to be finished.
        jobs: number of runs at a time; they share the cores.
        console: told of each run that has ended.
        scheduler: address of a Dask scheduler whose workers make the runs.
        describe: what to call a run, by its name.

    Returns:
        Name -> outcome, as of ``carry_out``.

    Raises:
        KeyboardInterrupt: the runs in progress have been interrupted too.
    """
    nodes = unique(nodes)
    count = min(jobs, max(1, len(nodes)))
    folder = folder.resolve()
    (folder / "settings").mkdir(parents=True, exist_ok=True)
    made = {}
    for node in nodes:
        atomic_write(folder / "settings" / f"{node.name}.yaml", to_yaml(node.config))
        source = node.source.name if node.source else None
        made[node.name] = Job(node.name, node.command, str(folder), source, count)
    parents = {node.name: [parent.name for parent in node.parents if parent.name in made] for node in nodes}
    progress = _Progress(console, len(nodes), describe)
    return run_graph(made, parents, count, progress.tell, scheduler)


def missing_runs(outcomes: dict[str, str], describe: Callable[[str], str] = str) -> str | None:
    """Return which runs were not made and why, such as "1 failed: NAME"; None if all were."""
    bad = {
        state: [describe(name) for name, each in outcomes.items() if each == state]
        for state in (FAILED, SKIPPED, STOPPED)
    }
    if not any(bad.values()):
        return None
    return "; ".join(f"{len(names)} {state}: {', '.join(names[:5])}" for state, names in bad.items() if names)


def unique(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes without repetitions."""
    return list({node.name: node for node in nodes}.values())


def state_of(run: Path) -> str:
    """Return "finished", "rejected" (by ``accept``), "unfinished" or "missing"."""
    if (run / MANIFEST).is_file():
        return "rejected" if is_rejected(run) else "finished"
    return "unfinished" if (run / UNFINISHED).is_file() else "missing"


def show_cost(seconds: float | None) -> str:
    """Return an expected duration, which may be unknown, in words."""
    return "unknown" if seconds is None else show_seconds(seconds)


def show_seconds(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, such as "12 min"."""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
