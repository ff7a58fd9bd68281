"""Finds the run that a command reads."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from clipdefend.errors import RunError
from clipdefend.runs.details import AugmentDetails
from clipdefend.runs.manifest import MANIFEST, MAX_MANIFEST_BYTES, Run
from clipdefend.runs.place import folders_in

MAX_PATH_CHARACTERS = 4096
_END_LINE = re.compile(rb"^end: ['\"]?([0-9T:.+Z -]{10,40}?)['\"]?\s*$", re.MULTILINE)

Say = Callable[[str], None]


def find_run(
    runs: Path,
    kinds: Sequence[str],
    given: str | None,
    *,
    say: Say | None = None,
    stdin: TextIO | None = None,
) -> Run:
    """Find the input run of a command.

    Args:
        runs: folder of run folders.
        kinds: commands whose runs are suitable.
        given: a run folder, a manifest, the name of a run under ``runs``, "-" for a path on standard input, or None
            for the newest finished run of a suitable kind.
        say: called with a line about the run that was chosen by default, and about damaged runs that were skipped.
        stdin: stream to read for "-"; standard input by default.

    Raises:
        RunError: there is none, or it is damaged, unfinished or of another kind.
    """
    if given is None:
        run = next(newest_runs(runs, kinds, say=say), None)
        if run is None:
            raise RunError(
                f"No finished run of kind {_either(kinds)} under {str(runs)!r}."
                f" Make one with 'clipdefend {kinds[-1]}', or give one by --from RUN."
            )
        if say is not None:
            say(f"Input: {run.path} (the newest {run.command} run under {runs})")
        return run
    if given == "-":
        given = read_path(stdin or sys.stdin)
    run = Run.open(locate(runs, given))
    if run.command not in kinds:
        raise RunError(f"Run {given!r} is of kind {run.command!r}; {_either(kinds)} is needed here.")
    return run


def read_path(stream: TextIO) -> str:
    """Read the path that the previous command of a pipe printed."""
    if stream.isatty():
        raise RunError("'-' reads a path from standard input, a terminal here. Pipe a command into it.")
    try:
        lines = stream.read(MAX_PATH_CHARACTERS + 1).split("\n")
    except UnicodeDecodeError:
        lines = ["", ""]
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise RunError("Standard input is empty: the command before the pipe failed, see its message.")
    if len(paths) > 1 or len(paths[0]) > MAX_PATH_CHARACTERS:
        raise RunError("Standard input is not the path of a run; commands print it unless --json is given.")
    return paths[0]


def newest_runs(runs: Path, kinds: Sequence[str], *, say: Say | None = None) -> Iterator[Run]:
    """Yield the finished runs of some kinds, the newest first; damaged ones are reported and skipped."""
    for file in _manifests(runs):
        try:
            run = Run.open(file)
        except RunError as error:
            if say is not None:
                say(f"Passed over: {error}")
            continue
        if run.command in kinds:
            yield run


def locate(runs: Path, given: str) -> Path:
    """Return the path as given, or the run of that name under ``runs`` if only that exists."""
    path = Path(given)
    try:
        elsewhere = len(path.parts) == 1 and not path.exists() and (runs / path).exists()
    except (OSError, ValueError):  # no possible path: whoever opens it says so
        return path
    return runs / path if elsewhere else path


def find_augment(runs: Path, fingerprint: str) -> Run | None:
    """Return the newest augment run of pairs with this fingerprint, or None; damaged runs are skipped."""
    for run in newest_runs(runs, ("augment",)):
        with contextlib.suppress(RunError):
            if AugmentDetails.of(run).fingerprint == fingerprint:
                return run
    return None


def find_inherited_data(run: Run) -> str | None:
    """Return the ``data`` of the nearest run that has one: this run, else its parents and theirs."""
    data = run.config.get("data")
    if isinstance(data, str):
        return data
    for parent in run.parents():
        found = find_inherited_data(parent)
        if found is not None:
            return found
    return None


def _manifests(runs: Path) -> list[Path]:
    """List the manifests directly under ``runs``, the last run to end first; ties by name.

    The end is read from the manifest, because modification times change when a folder is copied.
    """
    files = [folder / MANIFEST for folder in folders_in(runs) if (folder / MANIFEST).is_file()]
    return sorted(files, key=lambda file: (_end(file), file.parent.name), reverse=True)


def _end(file: Path) -> datetime:
    """Return the time at which a run ended.

    An unreadable manifest sorts first, so that it is reported; one without a time sorts last. Only the line with the
    time is read, because parsing hundreds of manifests takes seconds.
    """
    try:
        with file.open("rb") as stream:
            line = _END_LINE.search(stream.read(MAX_MANIFEST_BYTES))
        text = line.group(1).decode() if line else str(Run.open(file).manifest.get("end"))
    except (OSError, RunError):
        return datetime.max.replace(tzinfo=timezone.utc)
    try:
        moment = datetime.fromisoformat(re.sub("Z$", "+00:00", text))  # Python 3.10 knows no Z
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _either(kinds: Sequence[str]) -> str:
    *others, last = map(repr, kinds)
    return f"{', '.join(others)} or {last}" if others else last
