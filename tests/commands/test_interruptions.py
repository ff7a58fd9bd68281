"""Real processes that are killed or interrupted at any moment, and go on to the same bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from clipdefend.errors import RunError
from clipdefend.runs import Run
from command_lines import EVAL, MODEL, POISON, Shell, write_data
from processes import TIMEOUT, Running, finish, start

KILLS = int(os.environ.get("CLIPDEFEND_KILLS", "4"))
EPOCHS = 2 + KILLS
STEPS = 2 * EPOCHS
TIMING = ("samples_per_second", "step_seconds", "data_wait")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a poison run, and a training run on it that was not interrupted."""
    shell = Shell(tmp_path_factory.mktemp("kill") / "here")
    write_data(shell.folder)
    made = shell("poison", *POISON)
    assert made.code == 0, made.err
    finish(shell.folder, *line(0), "--out", "whole")
    return shell.folder


def line(workers: int) -> list[object]:
    train = ("--batch-size", 32, "--epochs", EPOCHS, "--lr", 1e-3, "--warmup", 2, "--log-every", 1)
    kept = ("--device", "cpu", "--workers", workers, "--save-every", 1)
    return ["finetune-attack", "001-poison-badnet", *MODEL, *EVAL, *train, *kept]


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Whole lines of the log so far, without the timings."""
    log = folder / "metrics.jsonl"
    text = log.read_text() if log.is_file() else ""
    records = [json.loads(each) for each in text.splitlines(keepends=True) if each.endswith("\n")]
    return [{key: value for key, value in each.items() if key not in TIMING} for each in records]


def steps_of(folder: Path) -> int:
    return sum(record["event"] == "step" for record in log_of(folder))


def wait_for(running: Running, folder: Path, steps: int) -> None:
    end = time.monotonic() + TIMEOUT
    while steps_of(folder) < steps and not running.ended:
        assert time.monotonic() < end, "the training did not get on"
        time.sleep(0.005)


def same_end(place: Path, folder: Path) -> None:
    for name in ("model", "best"):
        first, second = (
            load_file(each / name / "open_clip_model.safetensors") for each in (place / "whole", folder)
        )
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert log_of(folder) == log_of(place / "whole")
    manifests = [yaml.safe_load((each / "manifest.yaml").read_text()) for each in (place / "whole", folder)]
    assert manifests[0]["metrics"] == manifests[1]["metrics"]
    assert [each["path"] for each in manifests[0]["outputs"]] == [
        each["path"] for each in manifests[1]["outputs"]
    ]
    assert not (folder / "state").exists()
    assert not (folder / "unfinished.yaml").exists()


def go_on(place: Path, folder: Path) -> None:
    """Resume, or start again where nothing was kept, to the end."""
    if folder.exists():
        finish(place, "finetune-attack", "--resume", folder.name)
    else:
        finish(place, *line(0), "--out", folder.name)
    same_end(place, folder)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(place: Path) -> None:
    """kill -9 at random moments, from the start of the process to the training of some steps and beyond.

    4 kills; CLIPDEFEND_KILLS=20 in the environment for 20 of a longer training.
    """
    rng = random.Random(0)
    folder = place / "killed"
    kills = 0
    while kills < KILLS:
        fresh = not (folder / "unfinished.yaml").exists()
        running = start(
            place, *([*line(0), "--out", "killed"] if fresh else ["finetune-attack", "--resume", "killed"])
        )
        before = steps_of(folder)
        if rng.random() < 0.75:
            wait_for(running, folder, before + rng.randrange(1, 4))
            time.sleep(rng.random() * 0.05)
        else:
            time.sleep(rng.random())
        running.signal(signal.SIGKILL)
        code = running.end()
        assert code in (-signal.SIGKILL, 0), running.text
        if code == 0:
            break
        kills += 1
        if folder.exists() and not (folder / "manifest.yaml").exists():
            with pytest.raises(RunError):
                Run.open(folder)
        if folder.exists() and not (folder / "unfinished.yaml").exists():
            shutil.rmtree(folder)  # killed before it was a run
    assert kills >= min(KILLS, 3)
    if not (folder / "manifest.yaml").exists():
        go_on(place, folder)
    same_end(place, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 2), (signal.SIGTERM, 0)]
)
def test_an_interrupted_training_says_how_to_go_on(place: Path, number: signal.Signals, workers: int) -> None:
    name = f"{number.name}-{workers}"
    folder = place / name
    running = start(place, *line(workers), "--out", name)
    wait_for(running, folder, 3)
    running.signal(number)  # as terminals and launchers do, which signal the workers too
    assert running.end() == 130, running.text
    last = running.text.splitlines()[-1]
    assert last == f"interrupted: resume it with 'clipdefend finetune-attack --resume {name}'."
    assert "Traceback" not in running.text
    assert 3 <= steps_of(folder) < STEPS
    assert {"metrics.jsonl", "state", "unfinished.yaml"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "model").exists()
    go_on(place, folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_at_the_start_leaves_nothing_or_what_goes_on(
    place: Path, number: signal.Signals
) -> None:
    folder = place / f"early-{number.name}"
    running = start(place, *line(0), "--out", folder.name)
    end = time.monotonic() + TIMEOUT
    while not (folder / "unfinished.yaml").is_file():
        assert not running.ended, running.text
        assert time.monotonic() < end
        time.sleep(0.002)
    running.signal(number)
    assert running.end() == 130, running.text
    assert "Traceback" not in running.text
    if folder.exists():
        assert f"--resume {folder.name}'" in running.text.splitlines()[-1]
        assert (folder / "state").exists()
    else:
        assert "no run was kept; run the command again" in running.text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process are set on Linux alone")
def test_a_disk_without_room_leaves_a_run_that_goes_on(place: Path) -> None:
    """A limit of the size of files stands for the full disk: the log outgrows it before a state does."""
    folder = place / "full"
    running = start(place, *line(0), "--out", "full")
    wait_for(running, folder, 3)
    import resource  # not on Windows

    limit = (10_000, resource.RLIM_INFINITY)
    resource.prlimit(running.process.pid or 0, resource.RLIMIT_FSIZE, limit)
    assert running.end() == 2, running.text
    errors = [each for each in running.text.splitlines() if each.startswith("error:")]
    assert len(errors) == 1
    assert "File too large" in errors[0]
    assert errors[0].endswith(
        "Resume the run from its last state with 'clipdefend finetune-attack --resume full'."
    )
    assert "Traceback" not in running.text
    go_on(place, folder)
