"""Help: everything a user needs, nothing heavy imported; and the program as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipdefend import __version__
from clipdefend.cli.examples import EXAMPLES
from clipdefend.cli.execute import prepare
from clipdefend.cli.help import command_help, doctor_help, flags_of, main_help
from clipdefend.cli.invocation import invocation_class
from clipdefend.cli.parser import parse
from clipdefend.config import COMMANDS

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEAVY = {
    "torch",
    "open_clip",
    "accelerate",
    "spacy",
    "nltk",
    "numpy",
    "PIL",
    "pyarrow",
    "sng_parser",
    "torchvision",
}


def run(*args: str, python: tuple[str, ...] = (), **given: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, *python, "-m", "clipdefend", *args],
        capture_output=True,
        text=True,
        env=environment,
        **given,  # type: ignore[call-overload]
    )


def imported(report: str) -> set[str]:
    return {
        line.rpartition("|")[2].strip().split(".")[0] for line in report.splitlines() if "import time" in line
    }


@pytest.mark.parametrize("command", ["", *COMMANDS, "doctor"])
def test_help_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    done = run(*command.split(), "--help", python=("-X", "importtime"), cwd=tmp_path)
    assert done.returncode == 0
    names = imported(done.stderr)
    assert "clipdefend" in names
    assert not names & (HEAVY | {"rich", "typer", "yaml"})


def test_a_dry_run_imports_nothing_heavy_either(tmp_path: Path) -> None:
    done = run("poison", "--dry-run", python=("-X", "importtime"), cwd=tmp_path)
    assert done.returncode == 0
    assert not imported(done.stderr) & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_flag_its_default_and_examples(command: str) -> None:
    text = command_help(command)
    for flag in flags_of(command):
        if flag != "--from" or COMMANDS[command].sources:
            assert flag in text
    for line in EXAMPLES[command]:
        assert f"  {line}\n" in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_doctors_help_names_its_commands_and_examples() -> None:
    text = doctor_help()
    assert "--command NAME" in text
    assert "defend or finetune-attack" in text
    for line in EXAMPLES["doctor"]:
        assert f"  {line}\n" in text
    assert "  doctor " in main_help()
    assert "\x1b[1mdoctor\x1b[0m" in doctor_help(bold=True)


def test_help_shows_defaults_and_those_of_the_quick_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    text = command_help("poison")
    assert "Pairs to poison. [1500; quick: 500]" in text
    assert "[banana]" in text
    defence = command_help("defend")
    assert "Pairs per process and micro-batch. [64]" in defence
    assert "[cleanerclip]" in defence


def test_the_main_help_names_the_commands_and_the_five_lines() -> None:
    text = main_help()
    for command in COMMANDS:
        assert f"  {command} " in text
    for line in EXAMPLES["clipdefend"]:
        assert line in text
    assert "\x1b" not in text
    assert "\x1b[1mExamples\x1b[0m" in main_help(bold=True)


@pytest.mark.parametrize(
    "line",
    [
        line
        for lines in EXAMPLES.values()
        for line in "\n".join(lines).replace("\\\n", " ").splitlines()
        if line.startswith("clipdefend ") and "--resume" not in line
    ],
)
def test_the_examples_are_command_lines_that_parse(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = line.replace("'", "").split()[1:]
    request = parse(args)
    given = {
        name: tuple(value) if isinstance(value, list) else value for name, value in request.invocation.items()
    }
    prepared = prepare(request, invocation_class(request.command)(**given), args)
    assert (prepared.config.command if not request.doctor else "doctor") == args[0]


def test_version_and_help_anywhere(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"clipdefend {__version__}\n"
    assert run("defend", "--lr", "x", "-h", cwd=tmp_path).stdout.startswith(
        "Usage: clipdefend defend [RUN] [FLAGS]"
    )
    assert run("poisn", "--help", cwd=tmp_path).stdout.startswith("Usage: clipdefend COMMAND")


def test_a_mistake_as_a_process(tmp_path: Path) -> None:
    done = run("defend", "--lr", "fast", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --lr is 'fast'; it takes a number.\n"


def test_an_empty_pipe_as_a_process(tmp_path: Path) -> None:
    done = run("finetune-attack", "-", cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: Standard input is empty: the command before the pipe failed, see its message.\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="pipes of a POSIX shell")
@pytest.mark.parametrize("args", ["--help", "poison --dry-run", "poisn"])
def test_a_reader_that_leaves_early_is_no_bug(args: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    line = f"({sys.executable} -m clipdefend {args} 2>&1 1>&3 | cat >errors) 3>&1 | true"
    subprocess.run(["sh", "-c", line], env=environment, cwd=tmp_path, check=True)
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert "BrokenPipe" not in (tmp_path / "errors").read_text()
