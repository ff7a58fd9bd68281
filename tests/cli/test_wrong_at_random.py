"""Whatever people do, a command ends in one line and an exit code, or in a run that is right: never in a traceback.

``CLIPDEFEND_CASES=300`` draws as many cases as the check asks for; CI draws fewer.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipdefend.__main__ import main
from clipdefend.cli import boundary
from clipdefend.config import COMMANDS
from clipdefend.interruption import SIGNALS, forget
from clipdefend.runs import MANIFEST, Run
from command_lines import Shell, write_data
from wrong_cases import LINES, Case, copy, draw, spoil, stream

CASES = int(os.environ.get("CLIPDEFEND_CASES", "60"))
SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model's configuration, a poison run and a victim."""
    shell = Shell(tmp_path_factory.mktemp("wrong") / "here")
    write_data(shell.folder)
    (shell.folder / "given.yaml").write_text("seed: 1\nmax_bad: 0.5\n")
    for command in ("poison", "finetune-attack"):
        made = shell(*LINES[command].split(), "--quiet")
        assert made.code == 0, made.err
    return shell.folder


def replace_commands(case: Case, patch: pytest.MonkeyPatch) -> None:
    """Let commands only make a run, during which the case's signals arrive."""

    def run(config: Any, context: Any) -> Any:
        needs_run = config.sources and getattr(config, "checkpoint", None) is None
        source = context.input(config) if needs_run else None
        with context.begin(config, "made", source=source) as folder:
            if case.state:
                folder.state.mkdir(exist_ok=True)
                (folder.state / "state.pt").touch()
            for number in case.signals:
                signal.raise_signal(number)
            context.console.info("\u732b")
            return folder.finish(parents=[source] if source else [])

    for command in COMMANDS:
        room = command.replace("-", "_")
        patch.setitem(sys.modules, f"clipdefend.commands.{room}.run_{room}", SimpleNamespace(run=run))


@contextlib.contextmanager
def surroundings(case: Case, patch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The case's variables and streams; the handlers of signals are put back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = dict(os.environ)
    for name in [name for name in os.environ if name.endswith(("RANK", "WORLD_SIZE"))]:
        patch.delenv(name)
    for name, value in case.environment.items():
        patch.setenv(name, value)
    stdout, stderr = io.StringIO(), io.StringIO()
    streams: dict[str, Any] = {"stdin": io.StringIO(case.stdin), "stdout": stdout, "stderr": stderr}
    for name, trouble in case.streams.items():
        streams[name] = stream(trouble, case.stdin)
    for name, opened in streams.items():
        patch.setattr(sys, name, opened)
    # A stream of None means a closed number, which in this process is pytest's.
    patch.setattr("clipdefend.cli.streams._null_stream", lambda number, mode: open(os.devnull, mode))  # noqa: SIM115
    try:
        yield stdout, stderr
    finally:
        forget()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize("number", range(CASES))
def test_a_wrong_case_is_one_line_or_a_run_that_is_right(
    number: int, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = draw(number)
    folder = tmp_path / "here"
    copy(prepared, folder)
    for name, seed in case.spoil.items():
        spoil(folder / name, seed)
    monkeypatch.chdir(folder)
    before = {path.name for path in (folder / "runs").iterdir()}
    with monkeypatch.context() as patch, surroundings(case, patch) as (stdout, stderr):
        if not case.real:
            replace_commands(case, patch)
        code = main(case.args)
    out, err = stdout.getvalue(), stderr.getvalue()
    assert "Traceback" not in err, f"{case}\n{err}"
    assert code in (boundary.DONE, boundary.MISTAKE, boundary.GATE, boundary.INTERRUPTED), f"{case}\n{err}"
    told = [line for line in err.splitlines() if line.startswith(("error: ", "interrupted", "gate failed: "))]
    if "stderr" not in case.streams:
        assert len(told) == (code != boundary.DONE), f"{case}\n{err}"
    if code != boundary.DONE and "stdout" not in case.streams:
        assert out == "", case
    if code == boundary.DONE and out.endswith(f"{MANIFEST}\n") and out.count("\n") == 1:
        assert Run.open(out.strip()).command == case.args[0]
    # What is left behind is a finished run, or one that can be resumed.
    for path in (folder / "runs").iterdir():
        if path.name not in before and path.name != ".cache":
            assert (path / MANIFEST).exists() or (path / "state").is_dir(), f"{case}\n{path} {err}"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(CASES // 10))
def test_signals_at_any_moment_of_a_process_leave_no_traceback_of_ours(number: int, prepared: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    line = [sys.executable, "-m", "clipdefend", *LINES["poison"].split(), "--dry-run"]
    process = subprocess.Popen(
        line, cwd=prepared, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    for _ in range(2):
        time.sleep(0.02 * (1 + number % 12))
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # Before this package is imported the interpreter is on its own.
    assert f"{os.sep}clipdefend{os.sep}" not in err, err
    assert process.returncode in (0, 130, -signal.SIGINT, 1), err
