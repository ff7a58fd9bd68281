"""Run folders: complete or absent, and resumable until their manifest is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from clipdefend.config import RunConfig, to_dict
from clipdefend.config.yamlfile import dump_yaml
from clipdefend.distributed import launch
from clipdefend.errors import ClipDefendError, ConfigError, Interrupted, RunError, Stopped
from clipdefend.runs.files import TEMPORARY, atomic_write, describe_outputs, sweep
from clipdefend.runs.lock import acquire, release
from clipdefend.runs.manifest import (
    ARITHMETIC,
    MANIFEST,
    SCHEMA,
    STATE,
    STEPS,
    UNFINISHED,
    Run,
    plain,
)
from clipdefend.runs.place import claim, next_folder
from clipdefend.runs.recorded import Details
from clipdefend.runs.unfinished import Unfinished, check_unchanged, find_unfinished
from clipdefend.runs.versions import versions

METRICS = "metrics.jsonl"


@dataclass
class RunDir:
    """The folder of a run in progress, as a context manager.

    If the context exits by a user's error, an interruption or a disk error, the folder is removed unless it contains
    a resume state; in that case an interruption becomes ``Interrupted`` and an error ``Stopped``.

    Of several processes only the main one ``writes``; the others know the folder that it writes to.
    """

    path: Path
    config: RunConfig
    start: datetime
    resumed: bool = False
    source: Run | None = None
    writes: bool = True
    _finished: bool = field(default=False, init=False)

    @classmethod
    def begin(
        cls,
        runs: Path,
        config: RunConfig,
        label: str,
        *,
        out: Path | None = None,
        source: Run | None = None,
    ) -> RunDir:
        """Make the folder of a new run, or open the unfinished one that ``train.resume`` names.

        Args:
            runs: folder of run folders, created if it does not exist.
            config: the resolved configuration, recorded at once.
            label: last part of the folder's name, such as the method.
            out: the run folder, instead of the next ``NNN-COMMAND-LABEL`` under ``runs``.
            source: the input run, which ``--resume`` uses again.

        Raises:
            RunError: ``out`` is not empty or cannot be created, or the run cannot be resumed.
        """
        made: list[RunDir] = []

        def make() -> str:
            made.append(cls._begin(runs, config, label, out=out, source=source))
            return str(made[0].path)

        path = Path(launch.current().from_main(make))
        if made:
            return made[0]
        resumed = _resume_of(config) is not None
        return cls(path, config, datetime.now(timezone.utc), resumed=resumed, source=source, writes=False)

    @classmethod
    def _begin(
        cls, runs: Path, config: RunConfig, label: str, *, out: Path | None, source: Run | None
    ) -> RunDir:
        resume = _resume_of(config)
        if resume is not None:
            return cls._resume(find_unfinished(runs, config.command, resume), config, source)
        try:
            path = claim(out) if out is not None else next_folder(runs, config.command, label)
            run = cls(path.resolve(), config, datetime.now(timezone.utc), source=source)
            try:
                run._record()
            except BaseException:  # an interruption too: nothing is in the folder yet
                release(run.path / UNFINISHED)
                shutil.rmtree(run.path, ignore_errors=True)
                raise
        except OSError as error:
            where = str(out if out is not None else runs)
            raise RunError(
                f"No run can be made in {where!r}: {error.strerror}. Choose another place."
            ) from None
        return run

    @classmethod
    def _resume(cls, unfinished: Unfinished, config: RunConfig, source: Run | None) -> RunDir:
        check_unchanged(unfinished, plain(to_dict(config)))
        acquire(unfinished.path / UNFINISHED)
        sweep(unfinished.path)
        start = datetime.fromisoformat(unfinished.start)
        return cls(unfinished.path, config, start, resumed=True, source=source)

    @property
    def state(self) -> Path:
        """Folder of the resume state."""
        return self.path / STATE

    @property
    def has_state(self) -> bool:
        """Whether there is a resume state; a folder with only temporary files does not count."""
        return self.state.is_dir() and any(file.suffix != TEMPORARY for file in self.state.iterdir())

    def log(self, values: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        if not self.writes:
            return
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(values), allow_nan=False) + "\n")

    def finish(
        self,
        *,
        parents: Sequence[Run] = (),
        uses: Mapping[str, Run | None] | None = None,
        metrics: Mapping[str, Any] | None = None,
        warnings: Sequence[str] = (),
        details: Details | Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> Run:
        """Write the manifest, last and atomically, and return the finished run.

        The resume state is no longer needed and is removed unless ``train.keep_state`` is set.

        Args:
            parents: the runs that this one was made from.
            uses: role, such as ``EXCLUDED`` or ``MERGED`` -> a run that is a parent in this role alone; None: no run.
            metrics: flat name -> number; shares are fractions.
            warnings: warnings that were shown.
            details: details of the command, such as ``PoisonDetails``.
            device: the device that the model ran on.
        """

        records = [self._parent(parent) for parent in parents]
        for use, parent in (uses or {}).items():
            records += [{**self._parent(parent), "use": use}] if parent is not None else []
        recorded = details.to_dict() if isinstance(details, Details) else details or {}

        def write() -> None:
            self._finish(records, metrics or {}, warnings, recorded, device)

        launch.current().from_main(write)
        self._finished = True
        return Run.open(self.path)

    def _finish(
        self,
        parents: Sequence[Mapping[str, str]],
        metrics: Mapping[str, Any],
        warnings: Sequence[str],
        details: Mapping[str, Any],
        device: str,
    ) -> None:
        end = datetime.now(timezone.utc)
        manifest = {
            "schema": SCHEMA,
            "command": self.config.command,
            "start": _iso(self.start),
            "end": _iso(end),
            "seconds": round(max(0.0, (end - self.start).total_seconds()), 3),
            "seed": self.config.seed,
            "device": device,
            "versions": versions(),
            "config": to_dict(self.config),
            "parents": list(parents),
            "metrics": dict(metrics),
            "warnings": list(warnings),
            "details": dict(details),
            "outputs": describe_outputs(self.path, (MANIFEST, UNFINISHED, STATE, STEPS, ARITHMETIC)),
        }
        atomic_write(self.path / MANIFEST, dump_yaml(plain(manifest)))
        self._finished = True
        self._remove_leftovers()
        release(self.path / UNFINISHED)

    def __enter__(self) -> RunDir:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        release(self.path / UNFINISHED)
        if error is None:
            return
        interrupted = isinstance(error, KeyboardInterrupt | Interrupted)
        # The manifest is what makes a run finished: an interruption may come before ``finish`` has noted it.
        if self._finished or (self.path / MANIFEST).is_file():
            if interrupted:
                self._remove_leftovers()
                raise Interrupted(self.path, finished=True) from error
            return
        faulty = isinstance(error, ClipDefendError | OSError)
        resumable = self.resumed or self.has_state
        if self.writes and not resumable and (interrupted or faulty):
            shutil.rmtree(self.path, ignore_errors=True)
        if interrupted:
            raise Interrupted(self.path if resumable else None) from error
        # What a flag or another run is to blame for, resuming does not fix.
        if resumable and faulty and not isinstance(error, ConfigError | RunError | BrokenPipeError):
            raise Stopped(self.path) from error

    def _remove_leftovers(self) -> None:
        """Remove the files that only an unfinished run needs."""
        if not self.writes:
            return
        (self.path / UNFINISHED).unlink(missing_ok=True)
        if not getattr(getattr(self.config, "train", None), "keep_state", False):
            shutil.rmtree(self.state, ignore_errors=True)
            (self.path / ARITHMETIC).unlink(missing_ok=True)

    def _record(self) -> None:
        source = os.path.relpath(self.source.path, self.path) if self.source else None
        record = {
            "schema": SCHEMA,
            "command": self.config.command,
            "start": _iso(self.start),
            "source": source,
            "config": to_dict(self.config),
        }
        atomic_write(self.path / UNFINISHED, dump_yaml(plain(record)))
        acquire(self.path / UNFINISHED)

    def _parent(self, parent: Run) -> dict[str, str]:
        relative = Path(os.path.relpath(parent.path, self.path)).as_posix()
        return {"command": parent.command, "path": relative, "sha256": parent.sha256}


def _resume_of(config: RunConfig) -> str | None:
    """Return the run that a configuration resumes."""
    resume: str | None = getattr(getattr(config, "train", None), "resume", None)
    return resume


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
