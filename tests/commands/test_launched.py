"""Two processes under accelerate's launcher: one result, one message, and interruptions that go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from command_lines import EVAL, MODEL, POISON, Shell, write_data
from launched import TIMEOUT, end_of, launch

TRAIN = ("--batch-size", 8, "--epochs", 8, "--lr", "1e-3", "--warmup", 2, "--log-every", 1, "--workers", 0)
STEPS = 32
FINETUNE = ("finetune-attack", "--from", "001-poison-badnet", *MODEL, *TRAIN)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Data, a poison run, and a training run by two processes that was not interrupted."""
    shell = Shell(tmp_path_factory.mktemp("launched") / "here")
    write_data(shell.folder)
    made = shell("poison", *POISON)
    assert made.code == 0, made.err
    out, err, code = end_of(launch(shell, *FINETUNE, *EVAL, "--out", "whole"))
    assert code == 0, err
    assert out == "whole/manifest.yaml\n"
    assert "Global batch: 16 pairs = 8 x 2 processes; 4 steps an epoch" in err.splitlines()
    return shell


def steps_of(folder: Path) -> list[int]:
    log = folder / "metrics.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    return [record["step"] for record in records if record["event"] == "step"]


def wait_for(process: subprocess.Popen[str], folder: Path, steps: int) -> None:
    end = time.monotonic() + TIMEOUT
    while len(steps_of(folder)) < steps:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the training did not get on"
        time.sleep(0.02)


@pytest.mark.slow
def test_interruptions_of_the_launcher_go_on_to_the_same_end(place: Shell) -> None:
    """SIGTERM reaches the launcher alone; a terminal's SIGINT the processes too, which get it twice then."""
    folder = place.folder / "stopped"
    lines: list[tuple[object, ...]] = [(*FINETUNE, *EVAL, "--out", "stopped")]
    # Of the launcher's SIGTERM the workers hear, too.
    lines[0] += ("--workers", 1)
    lines += [("finetune-attack", "--resume", "stopped")] * 2
    for line, number, steps in zip(lines, (signal.SIGTERM, signal.SIGINT), (3, 12), strict=False):
        process = launch(place, *line)
        wait_for(process, folder, steps)
        (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
        out, err, code = end_of(process)
        assert code != 0
        assert out == ""
        told = [each for each in err.splitlines() if each.startswith("interrupted:")]
        assert told == ["interrupted: resume it with 'clipdefend finetune-attack --resume stopped'."], err
        assert steps <= len(steps_of(folder)) < STEPS
        assert sorted(each.name for each in folder.iterdir() if each.name != "best") == [
            "metrics.jsonl",
            "state",
            "unfinished.yaml",
        ]
    out, err, code = end_of(launch(place, *lines[2]))
    assert (out, code) == ("stopped/manifest.yaml\n", 0), err
    assert "resumed at step" in err
    assert steps_of(folder) == steps_of(place.folder / "whole") == list(range(1, STEPS + 1))
    first, second = (
        load_file(place.folder / name / "model" / "open_clip_model.safetensors")
        for name in ("whole", "stopped")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_a_mistake_is_one_line_and_the_code_of_all(place: Shell) -> None:
    out, err, code = end_of(launch(place, "finetune-attack", "--from", "nowhere", *MODEL))
    assert code != 0
    assert out == ""
    told = [each for each in err.splitlines() if each.startswith("error: ")]
    assert len(told) == 1, err
    assert "nowhere" in told[0]
    assert set(re.findall(r"exitcode\s*: (-?\d+)", err)) == {"2"}


@pytest.mark.slow
def test_an_evaluation_is_shared_and_equal(place: Shell) -> None:
    out, err, code = end_of(launch(place, "evaluate", "--from", "whole", *EVAL, "--workers", 0, "--json"))
    assert code == 0, err
    shared = json.loads(out)["metrics"]
    alone = place("evaluate", "--from", "whole", *EVAL, "--workers", 0, "--device", "cpu", "--json")
    assert json.loads(alone.out)["metrics"] == shared
    assert shared["n_clean"] == 24
