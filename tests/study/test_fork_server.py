"""Runs in processes forked from one that has imported everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from clipdefend.study.fork_server import IMPORTED, ForkServer, ForkServers

LIST = ["poison", "--list"]


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer({**os.environ, "OMP_NUM_THREADS": "1"})
    yield made
    made.close()
    assert not made.alive


def test_runs_follow_each_other_with_exit_codes_logs_and_folders(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "run.log"
    assert server.run(LIST, log) == 0
    assert "badnet" in log.read_text()
    assert server.run(["poison", "--attack", "badnat"], log) == 2
    assert log.read_text().count("badnet") > 1  # added to the first run's
    assert "Did you mean 'badnet'?" in log.read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").write_text("image,caption\n")
    assert server.run(["poison", "--data", "here.csv", "--target", "dog"], log) == 2
    assert "does not exist" not in log.read_text()


def interrupted(server: ForkServer, folder: Path, *, begun: bool) -> int:
    """Exit code of a long run, interrupted at once or when it has begun its log, however slow the imports."""

    def interrupt() -> None:
        deadline = time.monotonic() + 300
        while begun and not (folder / "log").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        server.interrupt()

    threading.Timer(0.01, interrupt).start()
    words = ["poison", "--attack", "ssba", "--runs", str(folder), "--quiet"]  # longer than this test
    return server.run(words, folder / "log")


@pytest.mark.slow
def test_an_interruption_ends_the_run_however_early_it_comes(server: ForkServer, tmp_path: Path) -> None:
    began = time.monotonic()
    assert interrupted(server, tmp_path, begun=False) == -signal.SIGKILL  # before the imports are done
    assert time.monotonic() - began < 2
    assert not (tmp_path / "log").exists()  # nothing was begun
    late = ForkServer(server.environment)
    assert interrupted(late, tmp_path, begun=True) in (130, -signal.SIGTERM)
    late.close()


def test_a_killed_server_fails_its_run_and_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    class Noted(ForkServer):
        def __init__(self, environment: Mapping[str, str]) -> None:
            super().__init__(environment)
            begun.append(self._process.pid)

    monkeypatch.setattr("clipdefend.study.fork_server.ForkServer", Noted)
    servers = ForkServers()
    for _ in range(2):
        assert servers.run(LIST, tmp_path / "log", os.environ) == 0
    assert len(begun) == 1
    os.kill(begun[0], signal.SIGKILL)
    assert servers.run(LIST, tmp_path / "log", os.environ) in (0, -signal.SIGKILL)
    assert servers.run(LIST, tmp_path / "log", os.environ) == 0
    assert len(begun) == 2
    servers.close()


def test_nothing_that_is_imported_asks_for_a_gpu() -> None:
    """A process that is forked after that could not use the GPU."""
    program = f"""
import importlib, torch
def refused(*_, **__):
    raise SystemExit("asked for a GPU")
for name in ("is_available", "device_count", "init", "_lazy_init", "get_device_capability"):
    setattr(torch.cuda, name, refused)
for name in {IMPORTED!r}:
    importlib.import_module(name)
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_after_an_interruption_nothing_is_begun(tmp_path: Path) -> None:
    servers = ForkServers()
    servers.interrupt()
    assert servers.run(["doctor"], tmp_path / "log", dict(os.environ)) == -signal.SIGTERM
    assert not (tmp_path / "log").exists()
    servers.close()
