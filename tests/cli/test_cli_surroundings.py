"""Surroundings: streams that are closed, full, of another encoding or read-only; leftovers of launchers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clipdefend.cli import boundary
from clipdefend.errors import ConfigError
from clipdefend.interruption import forget, not_ignored

SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = f"{sys.executable} -m clipdefend"


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh in which $C is the program."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "C": PROGRAM, **variables}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$C poison --dry-run >&-", 0),
        ("$C poison --help >&-", 0),
        ("$C poisn 2>&-", 2),
        ("$C poisn 2</dev/null", 2),
        ("$C poison --dry-run <&- >&- 2>&-", 0),
        ("$C finetune-attack - <&-", 2),
        ("$C poison --dry-run >/dev/full", 2),
        ("$C poison --dry-run 1</dev/null", 2),
        ("$C --version >&- 2>&-", 0),
    ],
)
def test_closed_and_full_streams(line: str, code: int, tmp_path: Path) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("a system without /dev/full")
    done = shell(line, tmp_path)
    assert done.returncode == code
    assert done.stderr.count(b"\n") <= 1


def test_a_result_that_cannot_be_written_is_in_the_message(tmp_path: Path) -> None:
    done = shell("$C poison --dry-run 1</dev/null", tmp_path)
    assert done.stderr.startswith(
        b"error: Standard output cannot be written: Bad file descriptor. The result was: "
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-16"])
def test_a_path_leaves_as_the_file_system_spells_it_whatever_the_encoding(
    encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "runs_\u732b").mkdir()
    code = "from clipdefend.cli.streams import *; prepare_streams(); write_result(input())"
    line = f'{sys.executable} -c "{code}"'
    given = "runs_\u732b/caf\u00e9".encode() + b"/\xff"
    done = subprocess.run(
        ["sh", "-c", line],
        input=given,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert done.stdout == given + b"\n"


def test_messages_in_another_encoding_are_spelled_out(tmp_path: Path) -> None:
    done = shell("$C poison --config 猫.yaml", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"--config \\u732b.yaml cannot be read" in done.stderr


@pytest.mark.parametrize(
    "variables", [{"LOCAL_RANK": "0"}, {"RANK": "1", "WORLD_SIZE": "1"}, {"LOCAL_RANK": "x"}]
)
def test_leftovers_of_a_launcher_are_not_a_launcher(tmp_path: Path, variables: dict[str, str]) -> None:
    assert shell("$C poison --dry-run", tmp_path, **variables).returncode == 0


def test_half_of_a_launcher_is_one_line(tmp_path: Path) -> None:
    done = shell("$C poison --dry-run", tmp_path, WORLD_SIZE="2", RANK="0")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"LOCAL_RANK, MASTER_PORT, MASTER_ADDR missing" in done.stderr
    assert shell("$C defend --help", tmp_path, WORLD_SIZE="2").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_interrupts_once_and_the_message_is_left_alone(
    number: signal.Signals, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: list[str] = []

    def say(text: str) -> None:
        signal.raise_signal(number)  # an impatient user
        spoken.append(text)

    def stopped(config: Any, context: Any) -> Any:
        signal.raise_signal(number)
        raise AssertionError("unreachable")

    before = {each: signal.getsignal(each) for each in not_ignored()}
    monkeypatch.setattr(boundary, "_say", say)
    cli.replace("poison", stopped)
    try:
        assert cli("poison").code == 130
    finally:
        forget()
        for each, handler in before.items():
            signal.signal(each, handler)
    assert spoken == ["interrupted: no run was kept; run the command again."]


def test_an_error_that_a_library_makes_of_an_interruption_is_one(cli: Any) -> None:
    def stopped(config: Any, context: Any) -> Any:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("multiarray failed to import") from None

    cli.replace("poison", stopped)
    done = cli("poison", "--quiet")
    assert (done.code, done.err) == (130, "interrupted.\n")
    forget()


def test_a_mistake_after_an_interruption_is_still_reported(cli: Any) -> None:
    def stopped(config: Any, context: Any) -> Any:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ConfigError("Wrong flag.") from None

    cli.replace("poison", stopped)
    assert cli("poison", "--quiet").code == 2
    forget()
