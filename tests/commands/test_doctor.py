"""``clipdefend doctor``: healthy and impossible configurations, for people and for programs; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from clipdefend.commands.defend.prepare_defence import DefencePreparation
from clipdefend.commands.doctor import evaluation_costs, machine
from clipdefend.commands.doctor.diagnosis import Estimate
from clipdefend.commands.doctor.estimate import disk_bytes, suggest_changes
from clipdefend.config import DefendConfig, TrainConfig
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context
from clipdefend.training.step_costs import Costs, Linear
from command_lines import EVAL, MODEL, POISON, TRAIN, Outcome, Shell, write_data
from memory_pairs import memory_pairs

DEFENCE = ("doctor", "--data", "pairs.csv", *MODEL, *TRAIN)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("doctor") / "here")
    write_data(shell.folder)
    return shell


def checks(done: Outcome) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(done.out)["checks"]}


def test_a_healthy_configuration(shell: Shell) -> None:
    before = shell.listing()
    done = shell(*DEFENCE, *EVAL, "--method", "cleanerclip", "--n-aug", 20)
    assert done.code == 0, done.err
    assert done.out.startswith("defend: healthy, 8 steps in about 0:")
    assert done.out.count("\n") == 1
    for name in ("packages", "devices", "language", "pairs", "model", "labelled images", "steps", "disk"):
        assert f"\n{name} " in done.err
    assert "change: The run has only 8 optimiser steps" in done.err
    assert {path: at for path, at in shell.listing().items() if path in before} == before
    assert shell.runs() == []


def test_json_carries_the_figures(shell: Shell) -> None:
    done = shell(*DEFENCE, "--command", "defend", "--method", "cleanclip", "--json")
    document = json.loads(done.out)
    assert (done.code, document["healthy"], document["command"]) == (0, True, "defend")
    estimate = document["estimate"]
    assert estimate["steps"] == 8
    assert estimate["seconds"] >= estimate["training_seconds"] > 0
    assert estimate["samples_per_second"] == pytest.approx(16 / estimate["step_seconds"])
    # Weights, gradients and two moments alone are four times the weights; the disk takes eight. The program
    # itself takes far more in this test.
    assert estimate["memory_bytes"] > estimate["disk_bytes"] / 2 + 1e8
    assert estimate["memory_free"] > estimate["memory_bytes"] > estimate["evaluation_bytes"]
    assert "language" not in checks(done)
    assert any(line.startswith("--eval-data") for line in document["changes"])


def test_faults_are_gathered_and_are_one_line(shell: Shell) -> None:
    done = shell("doctor", "--data", "nowhere.csv", "--model", "no-such-model", "--device", "cuda:99")
    assert (done.code, done.out) == (2, "defend: impossible, device, pairs, model\n")
    assert len(done.errors) == 1
    for text in ("cuda:99", "nowhere.csv", "no-such-model"):
        assert text in done.errors[0]


def test_bad_rows_are_a_fault(shell: Shell, tmp_path: Path) -> None:
    other = Shell(tmp_path / "here")
    write_data(other.folder)
    for number in range(0, 64, 2):
        (other.folder / "photos" / f"{number:03d}.jpg").write_bytes(b"no photo")
    done = other(*DEFENCE, "--json")
    assert done.code == 2
    assert "32 of 64 sampled rows cannot be used. " in checks(done)["pairs"]["found"]


def test_too_little_memory_is_a_fault_with_a_remedy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda device: 0)
    done = shell(*DEFENCE, "--method", "ft", "--json")
    assert done.code == 2
    document = json.loads(done.out)
    assert document["verdict"] == "defend: impossible, memory"
    assert any(line.startswith("--grad-checkpointing") for line in document["changes"])


def test_what_to_change_by_hand(small_model: ClipModel, tmp_path: Path) -> None:
    """A step of n needs 1000 + 1.3 * 100 n bytes; 0.9 of 5000 are for 26. Reading takes as long as two steps."""
    config = DefendConfig(workers=0, train=TrainConfig(batch_size=64, lr=5e-4))
    costs = Costs(
        seconds=Linear(0.0, 1.0),
        extra_seconds=Linear(0.0, 0.0),
        activations=Linear(0.0, 100.0),
        weights=1000,
        parameters=250,
        reading=2.0,
    )
    estimate = Estimate(
        steps=5000,
        step_seconds=192.0,
        samples_per_second=1 / 3,
        training_seconds=5000 * 192.0,
        evaluation_seconds=0.0,
        subcaption_seconds=0.0,
        data_bound=True,
        memory_bytes=9320,
        memory_free=5000,
        evaluation_bytes=6000,
        disk_bytes=2000,
        disk_free=1000,
    )
    prepared = DefencePreparation(config, Context(runs=tmp_path))
    prepared.__dict__ |= {"model": small_model, "pairs": memory_pairs(4)}
    lines = suggest_changes(prepared, [costs], estimate, torch.device("cpu"), 0)
    flags = [line.split()[0] for line in lines]
    assert flags == [
        "--batch-size",
        "A",
        "--grad-checkpointing",
        "--runs",
        "--workers",
        "A",
        "--eval-data",
        "The",
    ]
    assert lines[0] == "--batch-size 26 fits into memory."
    assert lines[4] == "--workers 2 would be enough for steps not to wait for data."
    assert "warm-up of 10,000 steps is not shorter than the run of 5,000" in lines[7]


def test_the_disk_that_a_run_needs_by_hand() -> None:
    """Weights of 100 bytes: two resume states of weights and two moments each, and two models."""
    assert disk_bytes(100) == 2 * (100 + 2 * 100) + 2 * 100


def test_an_attack_with_its_poison_run(shell: Shell, tmp_path: Path) -> None:
    other = Shell(tmp_path / "here")
    write_data(other.folder)
    assert other("poison", *POISON).code == 0
    line = ("doctor", "--command", "finetune-attack", *MODEL, *TRAIN, *EVAL, "--json")
    done = other(*line)
    assert done.code == 0, done.err
    assert checks(done)["input run"]["found"].endswith("001-poison-badnet")
    assert other.runs() == ["001-poison-badnet"]
    assert "labelled images" in checks(done)


def test_steps_are_those_of_the_training(shell: Shell) -> None:
    """64 pairs in batches of 16: 1 step of 4 micro-batches; 20 sub-captions are 2 batches of their own."""
    flags = ("--method", "cleanerclip", "--n-aug", 20, "--epochs", 2, "--json")
    counted = [
        json.loads(shell(*DEFENCE, *flags, *more).out)["estimate"]["steps"]
        for more in (("--accum-freq", 4), ("--fc-schedule", "epoch-end"))
    ]
    assert counted == [2, 12]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--command", "poison"), "--command is 'poison'; it takes 'defend' or 'finetune-attack'."),
        (("--from", "nowhere", "--data", "pairs.csv"), "nowhere"),
        (("--epoch", "3"), "No such option: --epoch. Did you mean '--epochs'?"),
    ],
)
def test_mistakes(shell: Shell, args: tuple[str, ...], message: str) -> None:
    done = shell("doctor", *args)
    assert done.code == 2
    assert len(done.errors) == 1
    assert message in done.errors[0]


def test_the_widest_layer_by_hand(small_model: ClipModel) -> None:
    """Of 32 pixels, a stem of 4, 4 and 8 channels at 16 pixels: batch norm takes in and gives out 8 x 16 x 16."""
    floats = evaluation_costs._widest(small_model, torch.zeros(2, 3, 32, 32, dtype=torch.uint8)) / 2 / 4
    assert floats >= 2 * 8 * 16 * 16
    assert floats <= 4 * 8 * 16 * 16


def test_a_defence_that_needs_several_batches_is_tried_on_its_few_pairs(tmp_path: Path) -> None:
    """SafeCLIP divides the 20,000 pairs in two, and the 64 of the trial as well."""
    flags = ("--method", "safeclip", "--set", "defence.in_modal_epochs=1", "--epochs", 3, "--workers", 0)
    for more in (("--batch-size", 64), ("--batch-size", 32, "--accum-freq", 8)):
        done = Shell(tmp_path)("doctor", "--command", "finetune-attack", "--model", "tiny", *flags, *more)
        assert done.code == 0, done.err
