"""Find and read the runs of a report, their ancestors and their records.

A report of many runs must not fail because of one: what cannot be read is named as a ``Fault`` and left out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.console import one_line
from clipdefend.errors import RunError
from clipdefend.runs import MANIFEST, NO_TRIGGER, UNFINISHED, Run, details_of
from clipdefend.runs.place import folders_in

DEPTH = 3
"""Number of levels of folders that are searched for runs."""
MAX_RUNS = 10_000
MAX_METRICS_BYTES = 256 << 20
LARGEST = sys.float_info.max
"""Whole numbers beyond it have no floating-point value, and are not read."""
MAX_LINE_BYTES = 1 << 20
METRICS = "metrics.jsonl"
QUICK = "quick_"


@dataclass(frozen=True)
class Fault:
    """A run, or a part of one, that was left out.

    Attributes:
        name: of the run's folder.
        reason: continues a sentence that begins with the name.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Epoch:
    """What a run recorded when it was evaluated during training.

    Attributes:
        number: epochs trained so far: 0 for the model as it began, 1.5 for half-way through the second epoch.
        values: flat metrics as fractions, and the other numbers of the record. With ``--eval-quick`` they are those of
            the quick subset in every epoch, since only the last one is measured on all images.
    """

    number: float
    values: dict[str, float]


@dataclass(frozen=True)
class RunCollection:
    """Runs with all their ancestors.

    Attributes:
        runs: finished runs without repetitions, sorted by their place under ``root``.
        faults: what was left out, and why.
        root: the innermost folder that holds all of them.
    """

    runs: list[Run]
    faults: list[Fault]
    root: Path

    def place(self, run: Run) -> str:
        """Return a run's folder relative to ``root``."""
        return Path(os.path.relpath(run.path, self.root)).as_posix()

    def parents(self, run: Run) -> list[Run]:
        """Return the parents of a run that were found, in their recorded order."""
        by_sha = {other.sha256: other for other in self.runs}
        return [by_sha[p["sha256"]] for p in run.manifest["parents"] if p["sha256"] in by_sha]

    def _sources(self, run: Run) -> list[Run]:
        """Return the parents whose triggers are the run's: not those that only named rows or were mixed in."""
        excluded = {p["sha256"] for p in run.manifest["parents"] if p.get("use") in NO_TRIGGER}
        return [parent for parent in self.parents(run) if parent.sha256 not in excluded]

    def ancestor(self, run: Run, command: str) -> Run | None:
        """Return the nearest run of a command: the run itself, else among those of its ancestors that were found."""
        level = [run]
        while level:
            for each in level:
                if each.command == command:
                    return each
            level = [parent for each in level for parent in self._sources(each)]
        return None


def collect(given: Sequence[Path]) -> RunCollection:
    """Read runs and their ancestors.

    Args:
        given: run folders, manifests, or folders that hold runs down to ``DEPTH`` levels.

    Raises:
        RunError: a path does not exist or cannot be listed, holds too many runs, or there is no finished run at all.
    """
    faults: list[Fault] = []
    found: dict[str, Run] = {}
    for path in given:
        for folder in _folders(path):
            _read(folder, found, faults)
    waiting = list(found.values())
    while waiting:
        for parent in _parents(waiting.pop(), found, faults):
            found[parent.sha256] = parent
            waiting.append(parent)
    if not found:
        why = f" {faults[0].name}: {faults[0].reason}" if faults else ""
        names = ", ".join(repr(str(path)) for path in given)
        raise RunError(f"No finished run in {names}.{why} Give run folders, or a folder that holds them.")
    root = Path(os.path.commonpath([run.path.parent for run in found.values()]))
    runs = sorted(found.values(), key=lambda run: run.path.relative_to(root).as_posix())
    return RunCollection(runs, sorted(set(faults), key=lambda fault: (fault.name, fault.reason)), root)


def read_epochs(run: Run) -> tuple[list[Epoch], list[Fault]]:
    """Read the evaluated epochs of a run's ``metrics.jsonl``.

    Returns:
        The epochs, ascending, the last record of each; and faults for what could not be read.
    """
    path = run.path / METRICS
    records: dict[float, Epoch] = {}
    wrong = 0
    try:
        if not path.is_file():
            return [], []
        if path.stat().st_size > MAX_METRICS_BYTES:
            return [], [Fault(run.name, f"{METRICS} is larger than {MAX_METRICS_BYTES >> 20} MB: not read.")]
        with path.open("rb") as file:
            # Bounded, so that a file without line ends does not fill the memory.
            for line in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                record = _record(line)
                if record is None:
                    wrong += 1
                elif record.number >= 0:
                    records[record.number] = record
    except OSError as error:
        return [], [Fault(run.name, f"{METRICS} cannot be read: {error.strerror}.")]
    faults = [Fault(run.name, f"{wrong} lines of {METRICS} cannot be read.")] if wrong else []
    return [records[number] for number in sorted(records)], faults


def finite_numbers(values: Any) -> dict[str, float]:
    """Return the entries of a mapping that are finite numbers; none for anything but a mapping."""
    if not isinstance(values, dict):
        return {}
    return {
        str(name): value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST
    }


def _record(line: bytes) -> Epoch | None:
    """Read a line; a record of another event gets the number -1. Returns None for a line that is not a record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    number = record.pop("epoch", None)
    if record.get("event") != "epoch":
        return Epoch(-1, {})
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= LARGEST:
        return None
    values = finite_numbers(record)
    quick = {name.removeprefix(QUICK): value for name, value in values.items() if name.startswith(QUICK)}
    return Epoch(
        number, {name: value for name, value in values.items() if not name.startswith(QUICK)} | quick
    )


def _folders(path: Path) -> Iterator[Path]:
    """Yield the run folders at or below a path, finished or not."""
    if path.name == MANIFEST:
        path = path.parent
    if not path.exists():
        raise RunError(f"Run {str(path)!r} does not exist. Give run folders, or a folder that holds them.")
    for count, folder in enumerate(_search(path, DEPTH)):
        if count >= MAX_RUNS:
            raise RunError(f"{str(path)!r} holds more than {MAX_RUNS:,} runs. Choose some of them.")
        yield folder


def _search(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / MANIFEST).is_file() or (folder / UNFINISHED).is_file():
        yield folder
    elif depth:
        for child in folders_in(folder):
            yield from _search(child, depth - 1)


def _read(folder: Path, found: dict[str, Run], faults: list[Fault]) -> None:
    if not (folder / MANIFEST).is_file():
        faults.append(Fault(folder.name, "is unfinished: continue it with --resume, or delete it."))
        return
    try:
        run = Run.open(folder)
        details_of(run)  # so that nothing that reads them later meets a damaged one
    except RunError as error:
        faults.append(Fault(folder.name, one_line(str(error).replace(str(folder), folder.name))))
        return
    found.setdefault(run.sha256, run)


def _parents(run: Run, found: dict[str, Run], faults: list[Fault]) -> Iterator[Run]:
    """Yield those parents of a run that have not been found yet."""
    for record in run.manifest["parents"]:
        if record["sha256"] not in found:
            try:
                parent = run.parent(record)
                details_of(parent)
                yield parent
            except RunError:
                name = one_line(str(record["path"]))
                faults.append(Fault(run.name, f"its parent {name} is missing, damaged or changed."))
