"""Trackers beside ``metrics.jsonl``: what they are sent, over one session and over several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipdefend.errors import ConfigError, Interrupted
from clipdefend.training.trackers import Trackers, flat_settings, tracker_names
from training_jobs import Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights

JOB: dict[str, Any] = {"method": "ft"}


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Name -> step -> value, as TensorBoard shows them: over all sessions, less what a later one purged."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = reader.EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        name: {event.step: event.value for event in accumulator.Scalars(name)}
        for name in accumulator.Tags()["scalars"]
    }


def logged(folder: Path) -> dict[int, float]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record["loss"] for record in records if record["event"] == "step"}


def test_tensorboard_has_what_the_log_has(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(tmp_path, **JOB, report_to="tensorboard")
    found = scalars(tmp_path)
    assert {"train/loss", "train/lr", "train/mmcl", "train/samples_per_second", "eval/ba@1"} <= set(found)
    assert found["train/loss"] == pytest.approx(logged(tmp_path))
    assert sorted(found["eval/ba@1"]) == [0, 5, 10]


def test_a_resumed_run_goes_on_in_the_same_log_and_ends_in_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, **JOB)
    with pytest.raises(Interrupted):
        train(cut, Watcher(3, interrupt), **JOB, report_to="tensorboard")
    train(cut, **JOB, report_to="tensorboard")
    assert scalars(cut)["train/loss"] == pytest.approx(logged(whole))
    assert log_of(cut) == log_of(whole)
    assert equal(weights(cut), weights(whole))


def test_what_was_logged_beyond_the_last_state_is_purged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trackers = Trackers(["tensorboard"], tmp_path)
    trackers.start(0, {"lr": 0.1})
    for step in (1, 2, 3, 4):
        trackers.log({"event": "step", "epoch": 1, "step": step, "loss": 1.0 * step}, step)
    trackers.finish()
    trackers.start(2, {})
    trackers.log({"event": "step", "epoch": 1, "step": 3, "loss": 30.0}, 3)
    trackers.finish()
    assert scalars(tmp_path)["train/loss"] == {1: 1.0, 2: 2.0, 3: 30.0}


def test_nothing_is_tracked_unless_asked_for(tmp_path: Path) -> None:
    train(tmp_path, **JOB, epochs=1)
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tensorbord", r"'tensorbord' is not a tracker\. Available: .*tensorboard.*wandb, or none"),
        ("none,tensorbord", "'none' is not a tracker"),
    ],
)
def test_unknown_trackers_are_one_line(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tracker_names(given)


def test_a_tracker_that_is_not_installed_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, "_available_trackers", ["wandb"])
    assert tracker_names(" wandb ,wandb,") == ["wandb"]
    with pytest.raises(ConfigError, match=r"--report-to comet_ml needs .*: pip install comet-ml\."):
        tracker_names("wandb,comet_ml")
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        make_trainer(make_job(tmp_path, **JOB, report_to="tensorboard"))


class Service:
    """A tracker that records what it is given."""

    requires_logging_directory = False
    made: list[Service] = []  # noqa: RUF012  # emptied by each test

    def __init__(self, project: str, **options: Any) -> None:
        self.project, self.options, self.calls = project, options, [("init",)]
        self.made.append(self)

    def start(self) -> None:
        self.calls.append(("start",))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append(("settings", values))  # type: ignore[arg-type]

    def log(self, values: dict[str, Any], step: int) -> None:
        self.calls.append(("log", step))  # type: ignore[arg-type]

    def finish(self) -> None:
        self.calls.append(("finish",))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, "_available_trackers", ["wandb", "mlflow"])
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, name, Service)
    Service.made.clear()
    return Service


def test_several_trackers_and_sessions(tmp_path: Path, service: type[Service]) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, Watcher(3, interrupt), **JOB, report_to="wandb,mlflow")
    train(tmp_path, **JOB, report_to="wandb,mlflow")
    first, other, second, _ = service.made
    assert first.project == other.project == "clipdefend"
    assert first.options["id"] == second.options["id"]
    assert first.options["resume"] == "allow"
    assert [call[0] for call in first.calls] == ["init", "start", "settings", *["log"] * 4, "finish"]
    assert first.calls[2][1]["lr"] == 1e-3  # type: ignore[misc]
    steps: list[Any] = [call[-1] for call in second.calls if call[0] == "log"]
    assert steps == [4, 5, 5, 6, 7, 8, 9, 10, 10]
    assert "settings" not in [call[0] for call in second.calls]
    assert second.calls[-1] == ("finish",)


def test_other_runs_have_other_keys(tmp_path: Path) -> None:
    keys = set()
    for name, record in (("a", "x"), ("a", "y"), ("b", "x")):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "unfinished.yaml").write_text(record)
        keys.add(Trackers(["wandb"], folder)._options("wandb", 0)["id"])
    assert len(keys) == 3


def test_a_tracker_that_does_not_start_is_one_line(tmp_path: Path, service: type[Service]) -> None:
    def refuse(self: Service) -> None:
        raise RuntimeError("No API key configured.")

    service.start, before = refuse, service.start  # type: ignore[method-assign]
    try:
        with pytest.raises(ConfigError, match=r"--report-to wandb does not start: No API key configured\."):
            train(tmp_path, **JOB, report_to="wandb")
    finally:
        service.start = before  # type: ignore[method-assign]


def test_settings_are_flat() -> None:
    assert flat_settings({"a": {"b": 1, "c": None}, "d": (1, 2), "e": True}) == {
        "a.b": 1,
        "a.c": "None",
        "d": "(1, 2)",
        "e": True,
    }
