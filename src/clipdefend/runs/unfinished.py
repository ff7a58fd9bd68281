"""Runs that were started but not finished."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clipdefend.config.yamlfile import YamlError, read_yaml
from clipdefend.errors import RunError
from clipdefend.runs.find import locate
from clipdefend.runs.manifest import MANIFEST, MAX_MANIFEST_BYTES, SCHEMA, UNFINISHED
from clipdefend.runs.place import folders_in

# What may differ when a run is resumed: none of it changes the result. ``max_bad`` only says when to give up.
FREE_ON_RESUME = (
    "workers",
    "max_bad",
    "jobs",
    "train.resume",
    "train.log_every",
    "train.save_every",
    "train.keep_state",
    "train.report_to",
    "train.device",
)


@dataclass(frozen=True)
class Unfinished:
    """The record that an unfinished run wrote at its start."""

    path: Path
    command: str
    config: dict[str, Any]
    source: str | None
    start: str


def find_unfinished(runs: Path, command: str, given: str) -> Unfinished:
    """Read the unfinished run that ``--resume`` names: a folder, a name under ``runs``, or "latest".

    Raises:
        RunError: there is no such run, or it is finished, damaged or of another command.
    """
    if given == "latest":
        return _latest(runs, command)
    path = locate(runs, given)
    if os.path.exists(path / MANIFEST):
        raise RunError(f"--resume {given!r} is a finished run; leave --resume out to start a new one.")
    if not os.path.exists(path / UNFINISHED):
        raise RunError(f"--resume {given!r} is not an unfinished run. Give its folder, or latest.")
    unfinished = _read_unfinished(path)
    if unfinished.command != command:
        raise RunError(f"--resume {given!r} is a run of {unfinished.command!r}, not of {command!r}.")
    return unfinished


def _latest(runs: Path, command: str) -> Unfinished:
    """Return the unfinished run with the latest recorded start; modification times change when files are copied."""
    found: list[Unfinished] = []
    damaged: RunError | None = None
    for folder in folders_in(runs):
        if (folder / MANIFEST).exists() or not (folder / UNFINISHED).exists():
            continue
        try:
            found.append(_read_unfinished(folder))
        except RunError as error:
            damaged = error
    found = [run for run in found if run.command == command]
    if not found:
        raise damaged or RunError(f"--resume latest: no unfinished run of {command!r} under {str(runs)!r}.")
    return max(found, key=lambda run: (datetime.fromisoformat(run.start), run.path.name))


def _read_unfinished(folder: Path) -> Unfinished:
    file = folder / UNFINISHED
    try:
        record = read_yaml(file, MAX_MANIFEST_BYTES)
        if record["schema"] != SCHEMA or not isinstance(record["config"], dict):
            raise KeyError("schema")
        datetime.fromisoformat(record["start"])
        source = record["source"]
        found = str((folder / source).resolve()) if source is not None else None
        return Unfinished(folder.resolve(), str(record["command"]), record["config"], found, record["start"])
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}.") from None
    except (YamlError, KeyError, TypeError, ValueError):
        raise RunError(f"{file} is damaged; the run cannot be resumed. Start a new one.") from None


def check_unchanged(unfinished: Unfinished, config: Mapping[str, Any]) -> None:
    """Raise RunError if a run would be resumed with a configuration that differs from its own."""
    for path, before, now in _differences(unfinished.config, config):
        if path not in FREE_ON_RESUME:
            raise RunError(
                f"--resume {unfinished.path.name}: {path} was {before!r} and is now {now!r};"
                " a resumed run keeps its configuration. Leave the flag out, or start a new run."
            )


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], at: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{at}{key}.")
        elif old != new:
            yield f"{at}{key}", old, new
