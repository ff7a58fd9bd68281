"""A registered defence from the command line: resumed, examined, reported, and by two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bank_defence import BankDefence  # noqa: F401  # the registry imports it by name
from safetensors.torch import load_file

import clipdefend
from clipdefend.defences import DEFENCES
from clipdefend.training.loop import Trainer
from command_lines import EVAL, MODEL, POISON, TRAIN, Shell, write_data

BY_TWO = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from clipdefend.__main__ import main
from clipdefend.defences import DEFENCES
DEFENCES.add("bank", "bank_defence:BankDefence")
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(DEFENCES, "_targets", {"bank": "bank_defence:BankDefence"})
    shell = Shell(tmp_path / "here")
    write_data(shell.folder)
    assert shell("poison", *POISON).code == 0
    made = shell("finetune-attack", *MODEL, *EVAL, *TRAIN)
    assert made.code == 0, made.err
    return shell


def tensors(shell: Shell, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(shell.folder / name / "model" / "open_clip_model.safetensors")
    return found


def test_it_works_wherever_a_method_does(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("defend", "--method", "bank", "--set", "defence.size=8", *EVAL, *TRAIN)
    whole = shell(*line, "--out", "whole")
    assert whole.code == 0, whole.err
    with shell.inside():
        manifest = whole.manifest
    details = manifest["details"]
    assert (details["method"], details["defence"]) == ("bank", {"size": 8})
    assert [phase["objective"] for phase in details["phases"]] == ["nearest"]
    assert manifest["config"]["defence"] == {"size": 8}

    real = Trainer._end_epoch

    def die(self: Trainer, done: int) -> None:
        real(self, done)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", die)
        assert shell(*line, "--out", "stopped").code == 130
    resumed = shell("defend", "--resume", "stopped")
    assert resumed.code == 0, resumed.err
    one, two = tensors(shell, "whole"), tensors(shell, "stopped")
    assert all(torch.equal(one[key], two[key]) for key in one)

    examined = shell("doctor", *line[1:], "--json")
    assert examined.code == 0, examined.err
    assert json.loads(examined.out)["estimate"]["steps"] == 8
    reported = shell("report", "whole", "--maps", 0, "--out", "report")
    assert reported.code == 0, reported.err
    assert "bank" in (shell.folder / "report" / "table.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--method", "bonk"), "Did you mean 'bank'?"),
        (("--method", "bank", "--set", "defence.sise=8"), "Did you mean 'size'?"),
        (("--method", "bank", "--set", "terms.mmcl.weight=2"), "has no terms to change"),
        (("--method", "ft", "--set", "defence.size=8"), "has no parameters of its own"),
    ],
)
def test_mistakes_are_one_line(shell: Shell, flags: tuple[str, ...], message: str) -> None:
    done = shell("defend", *flags, *TRAIN)
    assert (done.code, len(done.errors)) == (2, 1)
    assert message in done.errors[0]


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(shell: Shell) -> None:
    train = (
        "--epochs",
        1,
        "--lr",
        "1e-5",
        "--warmup",
        0,
        "--workers",
        0,
        "--batch-norm",
        "eval",
        "--log-every",
        1,
    )
    line = ("defend", "--method", "bank", "--device", "cpu", "--val-pairs", 0, "--eval-every", 0, *train)
    alone = shell(*line, "--batch-size", 16, "--out", "one")
    assert alone.code == 0, alone.err
    script = shell.folder / "by_two.py"
    script.write_text(BY_TWO)
    settings = Path(__file__).parents[2] / "examples" / "launch" / "two-cpu-processes.yaml"
    start = (
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        settings,
        "--main_process_port",
        0,
    )
    done = subprocess.run(
        [*map(str, (*start, script, *line, "--batch-size", 8, "--out", "two"))],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(clipdefend.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    losses = [
        [
            json.loads(text)["loss"]
            for text in (shell.folder / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
