"""Threads and memory of the process: what is set, and what the user has set stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipdefend.surroundings import MALLOC, cpu_quota, tune_threads


@pytest.mark.parametrize(
    ("text", "quota"),
    [("150000 100000", 1.5), ("max 100000", None), ("400000 100000\n", 4.0), ("", None), ("0 0", None)],
)
def test_the_quota_of_a_container(tmp_path: Path, text: str, quota: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(("limit", "quota"), [("250000", 2.5), ("-1", None)])
def test_the_quota_of_an_older_kernel(tmp_path: Path, limit: str, quota: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(limit)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path) == quota


def test_threads_sleep_and_are_as_many_as_the_container_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    found: dict[str, str] = {}
    tune_threads(found, tmp_path)
    assert found == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    (tmp_path / "cpu.max").write_text("350000 100000")
    tune_threads(found, tmp_path)
    assert found["OMP_NUM_THREADS"] == "3"
    (tmp_path / "cpu.max").write_text("50000 100000")
    single: dict[str, str] = {}
    tune_threads(single, tmp_path)
    assert single["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_has_set_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    found = {name: "7", "OMP_NUM_THREADS": "5"}
    tune_threads(found, tmp_path)
    assert found == {name: "7", "OMP_NUM_THREADS": "5"}


@pytest.mark.skipif(sys.platform != "linux", reason="settings of glibc")
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, MALLOC),
        ({"GLIBC_TUNABLES": "glibc.cpu.x86_ibt=on"}, f"glibc.cpu.x86_ibt=on:{MALLOC}"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, "glibc.malloc.check=1"),
        ({"MALLOC_ARENA_MAX": "2"}, None),
        ({"LD_PRELOAD": ""}, None),
    ],
)
def test_processes_that_are_started_take_huge_pages(given: dict[str, str], kept: str | None) -> None:
    script = (
        "import os\n"
        "from clipdefend import surroundings as s\n"
        "s.tune_process(); s.tune_process()\n"
        "print(os.environ.get('GLIBC_TUNABLES'))\n"
    )
    keep = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=keep | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(kept)


def test_it_is_done_before_torch_is_imported() -> None:
    script = (
        "import sys, clipdefend.surroundings as s\n"
        "s.tune_process = lambda: (print('torch' in sys.modules), sys.exit(0))\n"
        "from clipdefend.__main__ import main\n"
        "main(['poison', '--dry-run'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
