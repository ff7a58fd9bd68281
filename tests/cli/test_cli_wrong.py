"""Wrong input: exit code 2, one line on standard error, nothing on standard output, no run."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from clipdefend.config import COMMANDS
from clipdefend.runs import Run

CASES: list[tuple[str, str]] = [
    ("", f"No command given. Commands: {', '.join(COMMANDS)}, doctor;"),
    ("poisn", "No such command 'poisn'. Did you mean 'poison'? See 'clipdefend --help'."),
    ("train", "No such command 'train'. See 'clipdefend --help'."),
    ("--runs r poison", "No such option: --runs. See 'clipdefend --help'."),
    (
        "poison --atack x",
        "No such option: --atack. Did you mean '--attack'? See 'clipdefend poison --help'.",
    ),
    ("poison --lr 1", "No such option: --lr. See 'clipdefend poison --help'."),
    ("defend --warm-up 3", "No such option: --warm-up. Did you mean '--warmup'?"),
    ("defend -x", "No such option: -x. See 'clipdefend defend --help'."),
    ("poison extra", "error: Got unexpected extra argument"),
    ("defend a b", "error: Got unexpected extra argument"),
    ("defend --lr", "error: Option '--lr' requires an argument. See 'clipdefend defend --help'."),
    ("defend --config", "error: Option '--config' requires an argument."),
    ("defend --json=yes", "error: Option '--json' does not take a value."),
    ("defend --lr fast", "--lr is 'fast'; it takes a number."),
    ("defend --batch-size -4", "--batch-size is -4; it must be at least 1."),
    ("defend --precision fp32x", "Did you mean 'fp32'?"),
    ("poison --count 1 --rate 0.5", "--count 1 and --rate 0.5 cannot be combined; give one of them."),
    ("merge --with=", "--with is empty. Give it a value, or leave it out."),
    ("poison --runs=", "--runs is empty. Give it a value, or leave it out."),
    ("doctor --model=", "--model is empty. Give it a value, or leave it out."),
    ("poison --count 1e99", "--count is '1e99'; it takes a whole number."),
    ("poison --from x", "poison reads no run, but --from 'x' was given. Leave it out."),
    ("poison --preset slow", "--preset is 'slow'; it takes 'paper' or 'quick' or 'pretrain'."),
    ("poison --set count", "--set 'count' is not KEY=VALUE, as in --set train.lr=1e-4."),
    ("poison --set cuont=3", "--set cuont is not a key of poison. Did you mean 'count'?"),
    ("poison --config none.yaml", "--config none.yaml cannot be read: No such file or directory."),
    ("poison --config bad.yaml", "bad.yaml: cuont is not a key of poison. Did you mean 'count'?"),
    ("poison --config broken.yaml", "--config broken.yaml is not valid YAML: line 2:"),
    ("evaluate --topk one", "--topk is 'one'; it takes whole numbers, as in 1,3,5."),
    ("evaluate --max-asr 5%", "--max-asr is '5%'; it takes a share for k = 1 as in 0.05, or for others"),
    ("doctor --resume latest", "No such option: --resume."),
    ("doctor --command poison", "--command is 'poison'; it takes 'defend' or 'finetune-attack'."),
    (
        "doctor --command finetune-attack --n-aug 3",
        "--n-aug is not an option of finetune-attack. Leave it out.",
    ),
    ("defend a --from b", "The input run is given twice, as 'a' and as --from 'b'; give one."),
    ("defend --resume latest", "--resume latest: no unfinished run of 'defend' under 'runs'."),
    (
        "defend --resume x --out y",
        "--out and --resume cannot be combined: a resumed run stays in its folder.",
    ),
    ("defend --resume runs/001-poison-made", "--resume 'runs/001-poison-made' is a finished run;"),
    ("finetune-attack nowhere", "Run 'nowhere' does not exist. Give a run folder or its manifest.yaml."),
    ("finetune-attack file", "'file' is not a finished run: it has no manifest.yaml."),
    (
        "finetune-attack half",
        "Run 'half' is unfinished. Continue it with --resume, or choose a finished run.",
    ),
    ("finetune-attack foreign", "it has no schema version."),
    ("finetune-attack foreign/manifest.yaml", "it has no schema version."),
    (
        "evaluate runs/001-poison-made",
        "is of kind 'poison'; 'clean', 'merge', 'defend' or 'finetune-attack' is needed here.",
    ),
    (
        "defend",
        "No finished run of kind 'finetune-attack' under 'runs'. Make one with 'clipdefend finetune-attack'",
    ),
    ("finetune-attack --runs empty", "No finished run of kind 'poison' under 'empty'."),
    ("finetune-attack -", "Standard input is empty: the command before the pipe failed, see its message."),
    ("finetune-attack --from -", "Standard input is empty"),
    (
        "poison --out runs/001-poison-made",
        "is a finished run, which is never overwritten. Choose another folder.",
    ),
    ("poison --out half", "--out 'half' is an unfinished run. Continue it with --resume, or delete it."),
    ("poison --out foreign", "--out 'foreign' is a finished run, which is never overwritten."),
    ("poison --out full", "--out 'full' is a folder with other files. Choose a new or an empty one."),
    ("poison --out file/below", "No run can be made in 'file/below': Not a directory. Choose another place."),
    ("poison --runs file", "No run can be made in 'file': File exists. Choose another place."),
    ("poison --runs file/below", "No run can be made in 'file/below': Not a directory."),
    ("poison --out /proc/none", "No run can be made in '/proc/none'"),
]


@pytest.fixture
def furnished(cli: Any) -> Any:
    """A folder with a finished run, an unfinished one, and things that are no runs."""
    assert cli("poison").code == 0
    (cli.folder / "half").mkdir()
    (cli.folder / "half" / "unfinished.yaml").write_text("x")
    (cli.folder / "foreign").mkdir()
    (cli.folder / "foreign" / "manifest.yaml").write_text("name: another tool\n")
    (cli.folder / "full").mkdir()
    (cli.folder / "full" / "letter").write_text("dear")
    (cli.folder / "file").write_text("")
    (cli.folder / "bad.yaml").write_text("cuont: 3\n")
    (cli.folder / "broken.yaml").write_text("a: [\n")
    cli.calls.clear()
    return cli


def listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(("line", "message"), CASES, ids=[case[0] or "nothing" for case in CASES])
def test_one_line_and_exit_code_2(
    furnished: Any, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "/proc/" in line and not Path("/proc").is_dir():
        pytest.skip("a system without /proc")
    before = listing(furnished.folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    command, *rest = line.split() or [""]
    quiet = ["--quiet"] if command in (*COMMANDS, "doctor") else []
    done = furnished(*([command] if command else []), *quiet, *rest)
    assert done.code == 2, done.err
    assert done.out == ""
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert listing(furnished.folder) == before


def test_paths_in_messages_cannot_draw_on_the_terminal(cli: Any) -> None:
    done = cli("finetune-attack", "\x1b[2J\nerror: fine")
    assert done.code == 2
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1


def test_the_line_is_red_in_a_terminal(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("CI", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for colour in (True, False):
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        if not colour:
            monkeypatch.setenv("NO_COLOR", "1")
        assert cli("poisn").code == 2
        assert stream.getvalue().startswith("\x1b[31merror: " if colour else "error: ")


def test_a_changed_parent_is_found_out(furnished: Any) -> None:
    furnished("finetune-attack")
    manifest = furnished.folder / "runs" / "001-poison-made" / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("seed: 0", "seed: 1", 1))

    def through(config: Any, context: Any) -> Run:
        context.input(config).ancestor("poison")
        raise AssertionError("unreachable")

    furnished.replace("evaluate", through)
    done = furnished("evaluate", "--quiet")
    assert done.code == 2
    assert "was made from 001-poison-made, which has changed since. Make the run again." in done.err
    assert Run.open(manifest).command == "poison"
