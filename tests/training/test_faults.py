"""Full disks, missing data and numbers that are not finite: one clear line, and a state to resume from."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clipdefend.errors import ClipDefendError, ConfigError, DataError, RemoteError
from clipdefend.training.finite import check_loss, check_weights
from memory_pairs import memory_pairs
from training_jobs import ROWS, Watcher, equal, log_of, make_job, make_trainer, train, weights

JOB: dict[str, Any] = {"method": "ft", "save_every": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, **JOB)
    return folder


def same_end(folder: Path, other: Path) -> None:
    assert log_of(folder) == log_of(other)
    assert equal(weights(folder), weights(other))


class Bounded:
    """A file that takes so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state.pt.tmp")
        self.room -= len(data)
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 1000, 100_000])
def test_a_full_disk_leaves_the_last_state(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    real: Callable[..., None] = torch.save
    calls = []

    def save(value: Any, file: Any) -> None:
        calls.append(1)
        real(value, Bounded(file, room) if len(calls) == 4 else file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left on device") as error:
        train(tmp_path, **JOB)
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path / "state") == ["state.pt"]
    console = Watcher()
    trainer = make_trainer(make_job(tmp_path, **JOB), console)
    trainer.restore()
    assert trainer.progress.global_step == 3
    train(tmp_path, **JOB)
    same_end(tmp_path, whole)


def test_a_log_that_cannot_be_written_stops_the_run(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(make_job(tmp_path, **JOB))
    real = trainer.record.metrics.open

    def full(self: Path, *args: Any, **options: Any) -> Any:
        if self.name == "metrics.jsonl" and trainer.progress.global_step == 7:
            with real("a") as file:
                file.write('{"half')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return before(self, *args, **options)

    before = Path.open
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        trainer.run()
    monkeypatch.setattr(Path, "open", before)
    train(tmp_path, **JOB)
    same_end(tmp_path, whole)


@pytest.mark.parametrize(
    ("workers", "kind"), [(0, DataError), (1, DataError), (0, RemoteError), (0, ClipDefendError)]
)
def test_vanished_data_stop_with_a_line_and_the_state_of_the_last_step(
    tmp_path: Path, whole: Path, workers: int, kind: type[ClipDefendError]
) -> None:
    pairs = memory_pairs(ROWS)
    real = type(pairs).image
    gone = [False]

    class Vanishing(type(pairs)):  # type: ignore[misc]
        def image(self, row: int) -> Image.Image:
            if gone[0]:
                raise kind(f"Row {row}: the file is not there.")
            found: Image.Image = real(self, row)
            return found

    pairs.__class__ = Vanishing
    settings: dict[str, Any] = {"method": "ft", "pairs": pairs, "workers": workers}

    def vanish() -> None:
        gone[0] = True

    with pytest.raises(kind) as error:  # the workers of the second epoch meet it
        train(tmp_path, Watcher(3 if workers == 0 else 5, vanish), **settings)
    assert "Row" in str(error.value)
    assert "the file is not there" in str(error.value)
    assert "\n" not in str(error.value)
    gone[0] = False
    trainer = make_trainer(make_job(tmp_path, **settings))
    trainer.restore()
    assert trainer.progress.global_step == (3 if workers == 0 else 5)
    assert not trainer.bad.rows
    train(tmp_path, **settings)
    same_end(tmp_path, whole)


def test_labelled_images_that_vanish_cost_no_training(tmp_path: Path, whole: Path) -> None:
    calls = []

    def evaluate(model: Any, *, full: bool = False) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise DataError("Labelled images are gone.")
        return {"ba@1": float(model.clip.visual.conv1.weight.detach().double().abs().sum()) % 1.0}

    settings: dict[str, Any] = {"method": "ft", "evaluate": evaluate}
    with pytest.raises(DataError, match="gone"):
        train(tmp_path, **settings)
    console = Watcher()
    train(tmp_path, console, **settings)
    assert len(calls) == 4
    same_end(tmp_path, whole)


def test_an_infinite_gradient_does_not_reach_the_state(tmp_path: Path) -> None:
    """The loss of the step is finite, and so is not what shows it."""
    trainer = make_trainer(make_job(tmp_path, **JOB, log_every=100))
    real = trainer.stepper.step

    def step(*args: Any, **changes: Any) -> Any:
        result = real(*args, **changes)
        if trainer.progress.global_step == 2:
            with torch.no_grad():
                trainer.bare.clip.visual.conv1.weight[0] = math.inf
        return result

    trainer.stepper.step = step  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"weights are not finite after step 3, such as visual\.conv1"):
        trainer.run()
    again = make_trainer(make_job(tmp_path, **JOB, log_every=100))
    again.restore()
    assert again.progress.global_step == 2
    assert all(torch.isfinite(p).all() for p in again.bare.parameters())


def test_what_is_sound() -> None:
    check_loss(1.0, 1)
    check_weights({"a": torch.ones(2), "n": torch.tensor(3)}, 1)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigError, match=r"The loss is .* at step 7\. Start again with a lower --lr"):
            check_loss(value, 7)
        with pytest.raises(ConfigError, match="not finite after step 7, such as b"):
            check_weights({"a": torch.ones(1), "b": torch.tensor([0.0, value])}, 7)
