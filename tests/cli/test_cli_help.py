"""Help: everything a user needs, nothing heavy imported; and the program as a process."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from clipdefend import __version__
from clipdefend.__main__ import main
from clipdefend.cli.app import parse
from clipdefend.cli.examples import EXAMPLES
from clipdefend.cli.execute import prepare, read_invocation
from clipdefend.cli.invocation import invocation_class, option_leaves
from clipdefend.config import COMMANDS, leaves

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


def run(
    *args: str, python: tuple[str, ...] = (), env_extra: dict[str, str] | None = None, **given: object
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), **(env_extra or {})}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, *python, "-m", "clipdefend", *args],
        capture_output=True,
        text=True,
        env=environment,
        **given,  # type: ignore[call-overload]
    )
    return done


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
    assert not names & (HEAVY | {"rich", "pydantic", "yaml"})


def processor_seconds(*args: str) -> float:
    """The least of several runs, so that other work on the machine does not count."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *args],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def test_help_takes_at_most_three_times_as_long_as_the_import_of_typer(tmp_path: Path) -> None:
    # Compiled once, as in an installed package, wherever this runs.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(SOURCE)], check=True)
    bound = 3 * processor_seconds("-c", "import typer")
    for command in ("", "defend"):
        assert processor_seconds("-m", "clipdefend", *command.split(), "--help") <= bound


def test_a_dry_run_imports_nothing_heavy_either(tmp_path: Path) -> None:
    done = run("poison", "--dry-run", python=("-X", "importtime"), cwd=tmp_path)
    assert done.returncode == 0
    assert not imported(done.stderr) & HEAVY


def shown(*args: str, width: int = 110) -> str:
    """A help text."""
    done = run(*args, "--help", env_extra={"COLUMNS": str(width)})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "doctor"])
def test_help_shows_every_flag_its_default_and_examples(command: str) -> None:
    text = shown(command)
    known = set(re.findall(r"--[a-z0-9-]+", text.partition("Examples:")[0]))
    for leaf in (*option_leaves(command).values(), *leaves(invocation_class(command)).values()):
        for flag in leaf.spec.flags:
            assert (flag in known) == (flag != "--from" or command not in ("poison", "report", "study")), flag
    for line in EXAMPLES[command]:
        assert f"  {line}\n" in text
    assert max(map(len, text.splitlines())) <= 110
    assert "\x1b" not in text


def test_the_doctor_takes_the_flags_of_both_commands_and_its_own() -> None:
    text = " ".join(shown("doctor").split())
    assert "--command defend|finetune-attack" in text
    assert "--lr" in text
    assert "--n-aug" in text
    assert "--resume" not in text
    assert "--out " not in text


def test_help_shows_defaults_and_those_of_the_quick_preset() -> None:
    text = " ".join(shown("poison").split())
    assert "[default: 1500; quick: 500]" in text
    assert "[default: banana]" in text
    defence = " ".join(shown("defend").split())
    assert "micro-batch. [default: 64]" in defence
    assert "[default: cleanerclip]" in defence


def test_the_main_help_names_the_commands_and_the_five_lines() -> None:
    text = shown()
    for command in (*COMMANDS, "doctor"):
        assert f"  {command} " in text
    for line in EXAMPLES["clipdefend"]:
        assert line in text
    for flag in ("--version", "--install-completion", "--show-completion"):
        assert flag in text


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
    assert request is not None
    prepared = prepare(request, read_invocation(request), args)
    assert request.command == args[0]
    assert prepared.config.command == {"doctor": getattr(read_invocation(request), "command", "")}.get(
        args[0], args[0]
    )


def test_version_and_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"clipdefend {__version__}\n"
    for line in ("defend --lr x -h", "defend --help"):
        assert main(line.split()) == 0
        assert capsys.readouterr().out.startswith("Usage: clipdefend defend [OPTIONS] [RUN]\n")
    assert main(["report", "-h"]) == 0
    assert capsys.readouterr().out.startswith("Usage: clipdefend report [OPTIONS] [RUN]")
    assert main(["poisn", "--help"]) == 2
    assert capsys.readouterr().err.startswith("error: No such command 'poisn'. Did you mean 'poison'?")


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
def test_a_reader_that_leaves_early_is_not_a_bug(args: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    line = f"({sys.executable} -m clipdefend {args} 2>&1 1>&3 | cat >errors) 3>&1 | true"
    subprocess.run(["sh", "-c", line], env=environment, cwd=tmp_path, check=True)
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert "BrokenPipe" not in (tmp_path / "errors").read_text()
