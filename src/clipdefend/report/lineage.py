"""Origins of the numbers: every run with its parents, seed, versions and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipdefend.config import COMMANDS
from clipdefend.report.collect import RunCollection
from clipdefend.report.escape import tidy
from clipdefend.runs import MANIFEST, Run


@dataclass(frozen=True)
class Origin:
    """One run, as text that is safe to show.

    Attributes:
        anchor: id of its entry on the page.
        place: its folder below the runs' common folder.
        command, seed, sha256, end, device, versions, warnings: from its manifest, the SHA-256 of which is the hash.
        seconds: how long it took, with the unit.
        repeat: the command line that makes it again, to be run in the parent of the runs' common folder.
        parents: anchor and place of each parent that was found.
    """

    anchor: str
    place: str
    command: str
    seed: str
    sha256: str
    end: str
    seconds: str
    device: str
    versions: str
    repeat: str
    parents: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``report.json``."""
        plain = {
            key: getattr(self, key) for key in ("place", "command", "seed", "sha256", "versions", "repeat")
        }
        return {**plain, "parents": [place for _, place in self.parents], "warnings": list(self.warnings)}


def origins(collection: RunCollection) -> list[Origin]:
    """Return the origins of all runs of a report, sorted by place."""
    return [_origin(run, collection) for run in collection.runs]


def anchor(run: Run) -> str:
    """Return the id of a run's entry on the page."""
    return f"run-{run.sha256[:12]}"


def _origin(run: Run, collection: RunCollection) -> Origin:
    versions = run.manifest.get("versions")
    known = versions.items() if isinstance(versions, Mapping) else ()
    seconds = run.manifest.get("seconds")
    return Origin(
        anchor=anchor(run),
        place=tidy(collection.place(run), 300),
        command=tidy(run.command),
        seed=tidy(str(run.config.get("seed"))),
        sha256=run.sha256,
        end=tidy(str(run.manifest.get("end"))),
        seconds=f"{seconds:,.0f} s" if isinstance(seconds, int | float) else "unknown",
        device=tidy(str(run.manifest.get("device"))),
        versions=tidy(", ".join(f"{name} {version}" for name, version in known), 400),
        repeat=_repeat(run, collection),
        parents=tuple(
            (anchor(parent), tidy(collection.place(parent), 300)) for parent in collection.parents(run)
        ),
        warnings=tuple(tidy(str(line), 400) for line in run.manifest["warnings"]),
    )


def _repeat(run: Run, collection: RunCollection) -> str:
    """Return the command line that makes a run again, from its own manifest as configuration and its first parent.

    It is meant for the parent of the runs' folder: manifests keep relative paths of data as they were typed, and
    commands are mostly typed there.
    """
    runs = collection.root.name

    def place(of: Run) -> str:
        return f"{runs}/{collection.place(of)}"

    words = ["clipdefend", run.command, "--config", f"{place(run)}/{MANIFEST}"]
    sources = COMMANDS[run.command].sources if run.command in COMMANDS else ()
    for parent in collection.parents(run):
        if parent.command in sources:
            words += ["--from", place(parent)]
            break
    augment = next((each for each in collection.parents(run) if each.command == "augment"), None)
    if run.command == "defend" and augment is not None:
        words += ["--augment-from", place(augment)]
    words += ["--runs", runs]
    return tidy(" ".join(shlex.quote(word) for word in words), 1000)
