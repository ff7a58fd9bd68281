"""What the system's answers to a lock mean."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clipdefend.errors import RunError
from clipdefend.runs.lock import acquire, release

fcntl = pytest.importorskip("fcntl")


@pytest.mark.parametrize(
    ("number", "held"), [(errno.EACCES, True), (errno.EAGAIN, True), (errno.ENOSYS, False)]
)
def test_contention_is_an_error_and_a_file_system_without_locks_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, held: bool
) -> None:
    file = tmp_path / "unfinished.yaml"
    file.write_text("")

    def refuse(handle: int, flags: int) -> None:
        assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR  # NFS needs it
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    if held:
        with pytest.raises(RunError, match="still being written by another process"):
            acquire(file)
    else:
        acquire(file)
    release(file)
