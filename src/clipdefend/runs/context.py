"""The context of a command: where it reads, writes and prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clipdefend.config import RunConfig
from clipdefend.console import Console
from clipdefend.distributed import launch
from clipdefend.interruption import delayed
from clipdefend.runs.find import find_run
from clipdefend.runs.folder import RunDir
from clipdefend.runs.manifest import Run


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything that a command needs besides its configuration.

    Attributes:
        runs: folder of run folders.
        source: the input run as given; None means the newest run of a suitable kind.
        inputs: runs or folders of runs, for a command that reads several; if empty, all of ``runs``.
        out: the new run's folder as given; None means the next one under ``runs``.
        console: shows progress and messages.
        cli_args: the command line, for the record.
        given: keys of the configuration and of the invocation that the command line sets.
    """

    runs: Path
    source: str | None = None
    inputs: tuple[str, ...] = ()
    out: Path | None = None
    console: Console = field(default_factory=Console)
    cli_args: list[str] = field(default_factory=list)
    given: frozenset[str] = frozenset()
    _begun: list[RunDir] = field(default_factory=list, init=False, repr=False, compare=False)

    def input(self, config: RunConfig) -> Run:
        """Find the input run, of a kind that the command accepts. Raises RunError if there is none."""
        found = launch.current().from_main(
            lambda: str(find_run(self.runs, config.sources, self.source, say=self.console.info).path)
        )
        return Run.open(found)

    def begin(self, config: RunConfig, label: str, source: Run | None = None) -> RunDir:
        """Make the folder of the new run in the main process, or open that of the resumed one. Raises RunError."""
        # An interruption finds no folder that nobody knows of. Other processes wait for the first one, and may stop.
        with delayed() if launch.current().main else contextlib.nullcontext():
            run = RunDir.begin(self.runs, config, label, out=self.out, source=source)
            self._begun.append(run)
        return run

    @contextlib.contextmanager
    def explain_interruption(self) -> Iterator[None]:
        """Context in which an interruption outside of the run's own context reports the state of the run.

        Raises:
            Interrupted: a run had been started.
        """
        try:
            yield
        except KeyboardInterrupt as error:
            for run in self._begun:
                run.__exit__(type(error), error, error.__traceback__)
            raise
