"""Finished runs: reads and checks their manifests, and follows their parents."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from clipdefend.config.kinds import Kind, kind_of
from clipdefend.config.yamlfile import YamlError, parse_yaml
from clipdefend.errors import RunError
from clipdefend.runs.files import sha256_file

SCHEMA = "clipdefend/run/1"
MANIFEST = "manifest.yaml"
UNFINISHED = "unfinished.yaml"
STATE = "state"
STEPS = "steps"
"""Folder with the runs that a run consists of, each with a manifest of its own."""
ARITHMETIC = "arithmetic.json"
"""The choice of ``--precision auto``, with the seconds behind it: for a resumed run, and no result."""
EXCLUDED = "excluded rows"
"""Role of a parent that only named rows to leave out: its trigger is not the run's."""
KEPT = "kept poisoned pairs"
"""Role of a poison run some of whose poisoned pairs stayed in a cleaning set."""
MERGED = "merged weights"
"""Role of a parent whose weights were mixed into another's: the trigger is that of the other."""
UNLEARNT = "triggers to unlearn"
"""Role of a scan whose triggers a defence trained against."""
NO_TRIGGER = (EXCLUDED, MERGED, UNLEARNT)
"""Roles of parents whose triggers are not the run's."""
MAX_MANIFEST_BYTES = 2_000_000

_TYPES: dict[str, type] = {
    "command": str,
    "config": dict,
    "parents": list,
    "outputs": list,
    "metrics": dict,
    "warnings": list,
    "details": dict,
}


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its manifest and the SHA-256 of the manifest's bytes."""

    path: Path
    manifest: Mapping[str, Any]
    sha256: str

    @classmethod
    def open(cls, given: Path | str) -> Run:
        """Read a run by its folder or its manifest.

        Raises:
            RunError: it is missing, unfinished or damaged, or is not a run.
        """
        path = Path(given)
        folder = path.parent if path.name == MANIFEST else path
        file = folder / MANIFEST
        try:
            if not file.is_file():
                raise RunError(_why_not(folder))
            with file.open("rb") as stream:
                data = stream.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise RunError(f"Run {str(given)!r} cannot be read: {error.strerror}.") from None
        return cls(folder.resolve(), _parse(data, file), hashlib.sha256(data).hexdigest())

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def file(self) -> Path:
        """Path of the manifest."""
        return self.path / MANIFEST

    @property
    def command(self) -> str:
        command: str = self.manifest["command"]
        return command

    @property
    def kind(self) -> Kind:
        """The kind of the run, by its command: what it is made from and what it offers."""
        return kind_of(self.command)

    @property
    def config(self) -> dict[str, Any]:
        """The recorded configuration, as plain data; ``load_config(recorded=...)`` checks and converts it."""
        return dict(self.manifest["config"])

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(self.manifest["metrics"])

    @property
    def details(self) -> dict[str, Any]:
        """The details of the command, as plain data; ``PoisonDetails.of`` and the like read them."""
        return dict(self.manifest["details"])

    def output(self, name: str) -> Path:
        """Return the path of an output, which is listed in the manifest or inside a listed folder.

        Files that are listed individually are compared with the recorded digests; a folder with one digest for all
        its files is not, because it may be large.

        Raises:
            RunError: the manifest does not list the output, or it is missing, changed or outside the run folder.
        """
        path = self.path / name
        if not path.resolve().is_relative_to(self.path):
            raise RunError(f"Output {name!r} of run {self.name} lies outside the run's folder.")
        entries = {str(entry["path"]): entry for entry in self.manifest["outputs"]}
        inside = [key for key in entries if key.endswith("/") and f"{name}/".startswith(key)]
        below = [key for key in entries if key.startswith(f"{name}/")]
        if name not in entries and not inside and not below:
            raise RunError(f"Run {self.name} has no output {name!r}; it has: {', '.join(entries) or 'none'}.")
        if not path.exists():
            raise RunError(f"Run {self.name} has lost its output {name!r}. Make the run again.")
        for key in [key for key in entries if key == name or key in below]:
            self._check_content(key, entries[key])
        return path

    def _check_content(self, name: str, entry: Mapping[str, Any]) -> None:
        file = self.path / name
        if name.endswith("/"):
            return
        try:
            found = file.stat()
            same = found.st_size == entry.get("bytes") and entry["sha256"] == _digest(
                file, found.st_size, found.st_mtime_ns
            )
        except OSError as error:
            raise RunError(
                f"Output {name!r} of run {self.name} cannot be read: {error.strerror}. Make the run again."
            ) from None
        if not same:
            raise RunError(f"Output {name!r} of run {self.name} has changed since. Make the run again.")

    def parents(self) -> list[Run]:
        """Return the runs that this one was made from, checked by their recorded digests.

        Raises:
            RunError: a parent is missing, damaged or no longer the run that was read.
        """
        return [self.parent(record) for record in self.manifest["parents"]]

    def offers_rows(self) -> bool:
        """Whether the run has a table of rows that it has scored."""
        return any(entry["path"] == self.kind.rows for entry in self.manifest["outputs"])

    def ancestor(self, command: str) -> Run:
        """Return the nearest run of a kind: this one itself, else among its parents and theirs.

        Raises:
            RunError: there is none, or it or a run on the way to it is missing or has changed.
        """
        found = self.find_ancestor(command)
        if found is None:
            raise RunError(f"Run {self.name} has no {command} run among its parents. Choose one that has.")
        return found

    def find_ancestor(self, command: str) -> Run | None:
        """Return the same as ``ancestor``, but None if there is none."""
        return self.nearest(lambda run: run.command == command)

    def trigger_run(self) -> Run | None:
        """Return the nearest run that records a trigger, with which the run is attacked; None if there is none.

        Raises:
            RunError: none was found, and a run on the way has vanished or changed.
        """
        return self.nearest(lambda run: run.kind.trigger)

    def nearest(self, wanted: Callable[[Run], bool]) -> Run | None:
        """Return the nearest run with a property: this one itself, else among its parents and theirs.

        Raises:
            RunError: none was found, and a run on the way has vanished or changed.
        """
        level, fault = [self], None
        # By generation: the trigger that an evaluation was given stands beside the run that it measures, and is nearer
        # than the trigger that this run was made with.
        while level:
            found = next((run for run in level if wanted(run)), None)
            if found is not None:
                return found
            parents = []
            for child, record in [(each, record) for each in level for record in each.manifest["parents"]]:
                if record.get("use") not in NO_TRIGGER:
                    try:
                        parents.append(child.parent(record))
                    except RunError as error:
                        # It matters only when the run that is asked for is not found through another parent.
                        fault = fault or error
            level = parents
        if fault is not None:
            raise fault
        return None

    def parent(self, record: Mapping[str, Any]) -> Run:
        """Return the parent that an entry of the manifest's ``parents`` names; raises what ``parents`` does."""
        folder = self.path / str(record["path"])
        if not (folder / MANIFEST).is_file():
            raise RunError(
                f"Run {self.name} was made from {str(folder.resolve())!r}, which is gone. Put it back."
            )
        parent = Run.open(folder)
        if parent.sha256 != record["sha256"]:
            raise RunError(
                f"Run {self.name} was made from {parent.name}, which has changed since. Make the run again."
            )
        return parent


@lru_cache(maxsize=64)
def _digest(file: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file with a size and a modification time; cached until one of them changes."""
    return sha256_file(file)


def plain(value: Any) -> Any:
    """Convert to values that YAML and JSON share: torch scalars become numbers, NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return plain(value.as_posix())
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):  # half a surrogate pair, as in odd file names, cannot be written
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "item"):
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _why_not(folder: Path) -> str:
    if not folder.exists():
        return f"Run {str(folder)!r} does not exist. Give a run folder or its {MANIFEST}."
    if (folder / UNFINISHED).exists():
        return f"Run {str(folder)!r} is unfinished. Continue it with --resume, or choose a finished run."
    return f"{str(folder)!r} is not a finished run: it has no {MANIFEST}."


def _parse(data: bytes, file: Path) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise RunError(f"{file} is larger than {MAX_MANIFEST_BYTES // 1000} kB: no manifest of ours.")
    try:
        manifest = parse_yaml(data)
    except YamlError as fault:
        raise RunError(f"{file} {fault}.") from None
    if not isinstance(manifest, dict) or "schema" not in manifest:
        raise RunError(f"{file} is not a manifest of clipdefend: it has no schema version.")
    if manifest["schema"] != SCHEMA:
        raise RunError(f"{file} has schema {manifest['schema']!r}; this version reads {SCHEMA!r}.")
    for key, kind in _TYPES.items():
        if not isinstance(manifest.get(key), kind):
            raise RunError(f"{file} is damaged: {key!r} is missing or not a {kind.__name__}.")
    for key, needed in (("parents", ("path", "sha256")), ("outputs", ("path", "sha256"))):
        for entry in manifest[key]:
            if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in needed):
                raise RunError(f"{file} is damaged: an entry of {key!r} lacks {' or '.join(needed)}.")
            if "\0" in entry["path"]:
                raise RunError(f"{file} is damaged: a path among {key!r} has a NUL character.")
    for key, value in manifest["metrics"].items():
        if not isinstance(key, str) or not isinstance(value, int | float | None):
            raise RunError(f"{file} is damaged: metric {key!r} is not a number.")
    return manifest
