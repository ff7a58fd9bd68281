"""A study made by two Dask workers in processes of their own, and one that is killed and run again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from clipdefend.__main__ import main
from clipdefend.commands.shared import made_runs
from clipdefend.errors import RunError
from clipdefend.study import carry_out
from command_lines import Shell, write_data
from processes import TIMEOUT, start


def four_runs(folder: Path) -> None:
    write_data(folder)
    poison = {
        "data": str(folder / "pairs.csv"),
        "image_size": 32,
        "count": 4,
        "templates": "simple",
        "workers": 0,
    }
    grid = {"folder": str(folder / "made"), "seeds": [1, 2, 3, 4], "steps": {"poison": poison}}
    (folder / "grid.yaml").write_text(json.dumps(grid))


def made(folder: Path, study: str = "made") -> Counter[str]:
    """Name of each run -> number of times that it was made."""
    lines = map(json.loads, (folder / study / "study.jsonl").read_text().splitlines())
    return Counter(line["name"] for line in lines if line["state"] == "made")


def test_runs_share_the_cores_of_the_machine_that_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    alone, three, many = (
        carry_out.Job("run", "poison", "folder", None, sharing=sharing) for sharing in (1, 3, 9)
    )
    assert (alone.threads, three.threads, many.threads) == (8, 2, 1)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert (alone.threads, three.threads) == (4, 1)


@pytest.mark.slow
def test_two_workers_that_share_a_folder_make_each_run_once(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    four_runs(tmp_path)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        words = ("study", "run", "grid.yaml", "--scheduler", cluster.scheduler_address)
        found = Shell(tmp_path)(*words)
        assert found.code == 0, found.err
        assert sorted(made(tmp_path).values()) == [1, 1, 1, 1]
        assert Shell(tmp_path)(*words).code == 0
    assert sorted(made(tmp_path).values()) == [1, 1, 1, 1]


@pytest.mark.slow
def test_a_killed_study_makes_the_rest_and_nothing_twice(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    four_runs(tmp_path)
    words = [sys.executable, "-m", "clipdefend", "study", "run", "grid.yaml"]
    study = subprocess.Popen(words, cwd=tmp_path, start_new_session=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("made/*/manifest.yaml")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(study.pid, signal.SIGKILL)
    study.wait()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("made/*/manifest.yaml")}
    assert 1 <= len(before) < 4
    found = Shell(tmp_path)("study", "run", "grid.yaml")
    assert found.code == 0, found.err
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("made/*/manifest.yaml")}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert max(made(tmp_path).values()) == 1


EPOCHS = 10
STEPS = 4 * EPOCHS
JOBS = ("--jobs", 2)
"""On two cores each run has one thread."""
TIMING = ("samples_per_second", "step_seconds", "data_wait")


def victim_and_defence(folder: Path, made: str) -> None:
    """A study of a victim of 40 steps and a defence, in a folder of that name."""
    poison = {"data": "pairs.csv", "image_size": 32, "count": 20, "templates": "simple", "workers": 0}
    training = {
        "eval.data": "eval",
        "eval.templates": "simple",
        "eval.topk": {"value": [1, 3]},
        "train.batch_size": 16,
        "train.epochs": EPOCHS,
        "train.eval_every": 5,
        "train.save_every": 1,
        "train.log_every": 1,
        "train.lr": 1e-3,
        "workers": 0,
    }
    victim = {**training, "model.name": "small.json", "model.pretrained": "none"}
    defence = {**training, "method": "ft", "train.epochs": 1, "train.eval_every": 1}
    steps = {"poison": poison, "finetune-attack": victim, "defend": defence}
    (folder / f"{made}.yaml").write_text(json.dumps({"folder": made, "seeds": [1], "steps": steps}))


@pytest.fixture
def runs_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Studies make their runs one after another in this process, which has imported everything already."""

    def call(job: carry_out.Job, run: Path) -> int:
        torch.set_num_threads(job.threads)  # another number can mean other last bits
        words = [job.command, "--runs", job.folder, "--quiet"]
        if carry_out._has_state(run):
            return main([*words, "--resume", str(run)])
        words += ["--config", f"{job.folder}/settings/{job.name}.yaml", "--out", str(run)]
        return main([*words, *(["--from", f"{job.folder}/{job.source}"] if job.source else [])])

    def in_turn(
        jobs: Mapping[str, carry_out.Job],
        parents: Mapping[str, Sequence[str]],
        count: int,
        tell: Callable[[str, str], None],
        scheduler: str | None = None,
    ) -> dict[str, str]:
        outcomes: dict[str, str] = {}
        for name, job in jobs.items():
            outcomes[name] = carry_out.carry_out(job, [outcomes[parent] for parent in parents[name]])
        return outcomes

    monkeypatch.setattr(carry_out, "_call", call)
    monkeypatch.setattr(made_runs, "run_graph", in_turn)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def log_of(run: Path) -> list[dict[str, Any]]:
    """Whole lines of a run's log so far, without the timings."""
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{key: value for key, value in each.items() if key not in TIMING} for each in records]


@pytest.mark.slow
@pytest.mark.usefixtures("runs_here")
def test_killed_twice_in_the_middle_of_training(tmp_path: Path) -> None:
    """No run begins anew, and logs, metrics and tables are those of a study that nothing disturbed."""
    write_data(tmp_path)
    shell = Shell(tmp_path)
    victim_and_defence(tmp_path, "whole")
    victim_and_defence(tmp_path, "killed")
    assert shell("study", "run", "whole.yaml", *JOBS).code == 0
    whole = {run.parent.name: run.parent for run in tmp_path.glob("whole/*/manifest.yaml")}
    poison, victim = (next(name for name in whole if name.startswith(kind)) for kind in ("poison", "fine"))
    shutil.copytree(whole[poison], tmp_path / "killed" / poison)
    killed = tmp_path / "killed" / victim
    rng = random.Random(0)
    for _ in range(2):
        study = start(tmp_path, "study", "run", "killed.yaml", *JOBS)
        goal = len(log_of(killed)) + rng.randrange(1, STEPS // 2 - 4)
        until = time.monotonic() + TIMEOUT
        while len(log_of(killed)) < goal:
            assert time.monotonic() < until
            assert not study.ended, study.text
            time.sleep(0.005)
        study.signal(signal.SIGKILL)
        study.end()
    assert not (killed / "manifest.yaml").exists()
    assert list(killed.glob("state/*"))
    assert shell("study", "run", "killed.yaml", *JOBS).code == 0
    assert made(tmp_path, "killed") == {name: 1 for name in whole if name != poison}
    for name, run in whole.items():
        other = tmp_path / "killed" / name
        assert log_of(other) == log_of(run)
        first, second = (yaml.safe_load((each / "manifest.yaml").read_text()) for each in (run, other))
        assert first["metrics"] == second["metrics"]
    tables = []
    for study_name in ("whole", "killed"):
        assert shell("study", "report", f"{study_name}.yaml").code == 0
        folder = tmp_path / study_name / "report"
        tables.append([(folder / name).read_text() for name in ("table.csv", "frontier.csv")])
    assert tables[0] == tables[1]
    assert "badnet" in tables[0][1]


def test_a_stopped_study_waits_for_nobody_and_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that another study left behind holds the run; the user interrupts the wait."""
    (tmp_path / "run").mkdir()
    unfinished = tmp_path / "run" / "unfinished.yaml"
    monkeypatch.setattr(carry_out, "UNFINISHED", unfinished.name)
    unfinished.touch()
    stopping: list[bool] = []
    waits: list[float] = []

    def busy(path: Path) -> None:
        raise RunError(f"{path} is locked")

    def wait(seconds: float) -> None:
        waits.append(seconds)
        stopping.append(True)
        assert len(waits) < 3

    monkeypatch.setattr(carry_out, "acquire", busy)
    monkeypatch.setattr(carry_out, "_stopping", stopping)
    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setattr(carry_out, "_call", lambda job, run: pytest.fail("begun"))
    job = carry_out.Job("run", "poison", str(tmp_path), None, sharing=1)
    assert carry_out.carry_out(job, []) == carry_out.STOPPED
    assert len(waits) == 1


def test_what_was_spent_is_the_sum_of_all_runs(tmp_path: Path) -> None:
    assert carry_out.seconds_spent(tmp_path) == 0
    lines = [{"state": "made", "seconds": 1.5}, {"state": "stopped", "seconds": 2.0}]
    (tmp_path / "study.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"state": "ma'
    )
    assert carry_out.seconds_spent(tmp_path) == 3.5
