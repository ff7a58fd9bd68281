"""A study made by two Dask workers in processes of their own, and one that is killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from command_lines import Shell, write_data


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


def made(folder: Path) -> Counter[str]:
    """Name of each run -> number of times that it was made."""
    lines = map(json.loads, (folder / "made/study.jsonl").read_text().splitlines())
    return Counter(line["name"] for line in lines if line["state"] == "made")


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
