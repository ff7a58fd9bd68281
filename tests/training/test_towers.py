"""Compiled towers: the same numbers, clean files, and one line where there is no compiler."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clipdefend.errors import ConfigError, Interrupted
from clipdefend.models.builder import build_model
from clipdefend.training import step_costs, towers
from small_clip import small_architecture
from training_jobs import Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights

JOB: dict[str, Any] = {"method": "cleanclip", "epochs": 1, "compile": True}


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in log_of(folder) if record["event"] == "step"]


@pytest.mark.slow
def test_compiled_towers_train_resume_and_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated ahead of time as by the default compiler, without its minutes of C++."""
    monkeypatch.setattr(towers, "BACKEND", "aot_eager")
    train(tmp_path / "plain", **{**JOB, "compile": False})
    train(tmp_path / "whole", **JOB)
    train(tmp_path / "both", **JOB, grad_checkpointing=True)
    assert losses(tmp_path / "both") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", Watcher(2, interrupt), **JOB)
    state = torch.load(tmp_path / "cut" / "state" / "state.pt", weights_only=True)
    assert not any("_orig_mod" in key for key in state["model"])
    train(tmp_path / "cut", **JOB)
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
    keys = load_file(tmp_path / "whole" / "model" / "open_clip_model.safetensors").keys()
    assert keys == weights(tmp_path / "plain").keys()


@pytest.mark.parametrize("patch_size", [None, 16], ids=["ResNet", "transformer"])
@pytest.mark.parametrize("accum", [1, 2])
def test_checkpointing_changes_no_bit_and_holds_less(
    tmp_path: Path, patch_size: int | None, accum: int
) -> None:
    layers = 1 if patch_size else [1, 1, 1, 1]
    vision = {"layers": layers, "width": 64 if patch_size else 8, "patch_size": patch_size}
    held = {}
    for name, switch in (("plain", False), ("again", True)):
        model = build_model(small_architecture(vision=vision), seed=1)
        trainer = train(
            tmp_path / name, model=model, epochs=1, accum_freq=accum, batch_size=4, grad_checkpointing=switch
        )
        stage = trainer.timetable.stages[0]
        batch = step_costs.sample_batch(trainer, stage, 8, subset=False)
        held[name] = step_costs.time_step(trainer, stage, batch)[1]
    assert log_of(tmp_path / "plain") == log_of(tmp_path / "again")
    assert equal(
        weights(tmp_path / "plain"), weights(tmp_path / "again")
    )  # statistics of batch norms among them
    assert held["again"] < 0.7 * held["plain"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif("CLIPDEFEND_COMPILE" not in os.environ, reason="minutes of C++; set CLIPDEFEND_COMPILE=1")
def test_the_real_compiler_in_brain_floats(tmp_path: Path) -> None:
    """One step by the default compiler; with CLIPDEFEND_COMPILE=1 in the environment."""
    settings: dict[str, Any] = {"method": "ft", "epochs": 1, "batch_size": 20, "precision": "bf16"}
    train(tmp_path / "plain", **settings)
    train(tmp_path / "compiled", **settings, compile=True)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=0.02)


def test_a_cpu_without_a_compiler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ConfigError, match=r"--compile on a CPU needs a C\+\+ compiler, but 'no-such-compiler' was not found"
    ):
        make_trainer(make_job(tmp_path, **JOB))


def test_a_failing_compilation_is_one_line() -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def broken() -> None:
        with towers.compilation_faults(True):
            raise BackendCompilerFailed(towers.prepare_towers, RuntimeError("no such header\nand more"), None)

    with pytest.raises(ConfigError, match=r"--compile failed: .* Run without --compile\.") as error:
        broken()
    assert "\n" not in str(error.value)


def test_other_faults_pass_through() -> None:
    for compiled in (True, False):
        with pytest.raises(ZeroDivisionError), towers.compilation_faults(compiled):
            raise ZeroDivisionError
