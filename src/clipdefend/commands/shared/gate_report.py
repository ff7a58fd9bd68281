"""Telling people and other programs of gates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdefend.distributed import launch
from clipdefend.errors import ConfigError, GateFailed
from clipdefend.gates.annotations import github_errors, is_github
from clipdefend.gates.junit import junit_xml
from clipdefend.gates.verdict import Judged
from clipdefend.runs import Context, Run, atomic_write


def tell_gates(
    gates: Sequence[Judged], junit: str | None, annotations: str, context: Context, finished: Run
) -> None:
    """Say, write and annotate verdicts.

    Args:
        gates: the verdicts.
        junit: file for them as JUnit XML; None: no file.
        annotations: "github", "none", or "auto": in a GitHub workflow.
        context: its console shows the verdict.
        finished: the run.

    Raises:
        GateFailed: a bound was missed; everything has been written.
    """
    for gate in gates:
        if gate.passed:
            context.console.info(f"gate passed: {gate.sentence}")
    if junit is not None and launch.current().main:
        _write_junit(Path(junit), gates, finished)
    if annotations == "github" or (annotations == "auto" and is_github()):
        for line in github_errors(gates):
            context.console.command(line)
    failed = [gate.sentence for gate in gates if not gate.passed]
    if failed:
        raise GateFailed(finished.file, failed)


def check_file(given: str, flag: str) -> None:
    """Raise ConfigError where a file cannot be written, before the work that fills it."""
    path = Path(given)
    if path.is_dir():
        raise ConfigError(f"{flag} {given!r} is a folder: give the name of a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {given!r} cannot be written: {error.strerror}. Choose another.") from None


def _write_junit(path: Path, gates: Sequence[Judged], finished: Run) -> None:
    manifest = finished.manifest
    properties = {"manifest": finished.file, **finished.metrics}
    written = junit_xml(
        gates,
        command=finished.command,
        run=finished.name,
        start=str(manifest["start"]),
        seconds=float(manifest["seconds"]),
        properties=properties,
    )
    atomic_write(path, written)
