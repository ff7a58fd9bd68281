"""The command line with commands that only make runs, so that it is tested without a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipdefend.__main__ import main
from clipdefend.config import COMMANDS, RunConfig
from clipdefend.runs import Context, Run

Body = Callable[[RunConfig, Context], Run]


@dataclass
class Outcome:
    """What a command line left behind."""

    code: int
    out: str
    err: str


class Cli:
    """Runs command lines in the test's own folder; records what the commands were given."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls: list[tuple[Any, Context]] = []
        self._capsys = capsys
        self._patch = patch
        for command in COMMANDS:
            self.replace(command, self.make_run)

    def replace(self, command: str, body: Body) -> None:
        """Let a command do something else."""

        def run(config: RunConfig, context: Context) -> Run:
            self.calls.append((config, context))
            return body(config, context)

        room = command.replace("-", "_")
        name = f"clipdefend.commands.{room}.run_{room}"
        self._patch.setitem(sys.modules, name, SimpleNamespace(run=run))

    def make_run(self, config: RunConfig, context: Context) -> Run:
        needs_run = config.sources and getattr(config, "checkpoint", None) is None
        parents = [context.input(config)] if needs_run else []
        with context.begin(config, "made") as run:
            return run.finish(parents=parents, metrics={"asr@1": 0.9}, warnings=context.console.warnings)

    def __call__(self, *args: str) -> Outcome:
        self._capsys.readouterr()
        code = main(list(args))
        captured = self._capsys.readouterr()
        return Outcome(code, captured.out, captured.err)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    for name in ("CLIPDEFEND_RUNS", "RANK", "COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Cli(tmp_path, capsys, monkeypatch)
