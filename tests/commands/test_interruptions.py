"""Real processes that are killed or interrupted, and go on to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_lines import MODEL, Shell, write_data
from safetensors.torch import load_file

import clipdefend

EPOCHS = 12
STEPS = 4 * EPOCHS
TIMEOUT = 120.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Data, a poison run, and a training of it that nobody interrupted."""
    shell = Shell(tmp_path_factory.mktemp("kill") / "here")
    write_data(shell.folder)
    made = shell("poison", "--data", "pairs.csv", "--image-size", 32, "--count", 20, "--templates", "simple")
    assert made.code == 0, made.err
    finish(shell, *line(0), "--out", "whole")
    return shell


def line(workers: int) -> list[str]:
    train = (
        "--batch-size",
        16,
        "--epochs",
        EPOCHS,
        "--lr",
        1e-3,
        "--warmup",
        2,
        "--device",
        "cpu",
        "--log-every",
        1,
    )
    return [
        str(part) for part in ("finetune-attack", "001-poison-badnet", *MODEL, *train, "--workers", workers)
    ]


def start(place: Shell, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "clipdefend", *map(str, args)]
    return subprocess.Popen(
        command,
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(clipdefend.__file__).parents[1])},
    )


def finish(place: Shell, *args: object) -> str:
    """Run to the end, in a process as all others: another number of threads can mean other last bits."""
    process = start(place, *args)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    return err


def steps_of(folder: Path) -> int:
    log = folder / "metrics.jsonl"
    return sum('"step"' in each for each in log.read_text().splitlines()) if log.is_file() else 0


def wait_for(process: subprocess.Popen[str], folder: Path, steps: int) -> None:
    end = time.monotonic() + TIMEOUT
    while steps_of(folder) < steps:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the training did not get on"
        time.sleep(0.01)


def same_end(place: Shell, folder: Path) -> None:
    first, second = (
        load_file(each / "model" / "open_clip_model.safetensors") for each in (place.folder / "whole", folder)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    steps = [json.loads(each)["step"] for each in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
    assert not (folder / "state").exists()
    assert not (folder / "unfinished.yaml").exists()


@pytest.mark.slow
def test_a_killed_training_goes_on(place: Shell) -> None:
    folder = place.folder / "killed"
    process = start(place, *line(0), "--out", "killed", "--save-every", 3)
    wait_for(process, folder, 10)
    process.kill()
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "manifest.yaml").exists()
    assert "resumed at step" in finish(place, "finetune-attack", "--resume", "killed")
    same_end(place, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_an_interrupted_training_says_how_to_go_on(
    place: Shell, number: signal.Signals, workers: int
) -> None:
    name = f"{number.name}-{workers}"
    folder = place.folder / name
    process = start(place, *line(workers), "--out", name)
    wait_for(process, folder, 5)
    os.killpg(process.pid, number)  # as a terminal does, which signals the workers too
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == f"interrupted: go on with 'clipdefend finetune-attack --resume {name}'."
    assert "Traceback" not in err
    assert steps_of(folder) < STEPS
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.jsonl", "state", "unfinished.yaml"]
    finish(place, "finetune-attack", "--resume", name)
    same_end(place, folder)


@pytest.mark.slow
def test_an_interruption_at_the_start_leaves_nothing_or_what_goes_on(place: Shell) -> None:
    process = start(place, *line(0), "--out", "early")
    end = time.monotonic() + TIMEOUT
    while not (place.folder / "early" / "unfinished.yaml").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    if (place.folder / "early").exists():
        finish(place, "finetune-attack", "--resume", "early")
        same_end(place, place.folder / "early")
    else:
        assert "nothing was kept; start the command again" in err
