"""A shard that is read at given places, on the local disk or elsewhere."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clipdefend.data.store.remote import RemoteFile, RemoteShard
from clipdefend.errors import DataError

Location = Path | RemoteFile


class Shard(Protocol):
    """Bytes at given places."""

    @property
    def path(self) -> Location: ...
    @property
    def size(self) -> int: ...
    def read(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        ...


@dataclass(frozen=True)
class LocalShard:
    """An open file."""

    path: Path
    size: int
    handle: int

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.handle, size, offset)


@contextlib.contextmanager
def open_shard(path: Location) -> Iterator[Shard]:
    """Raises DataError when a shard cannot be opened or is no regular file."""
    if isinstance(path, RemoteFile):
        with contextlib.closing(RemoteShard(path)) as remote:
            yield remote
        return
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise DataError(f"Shard {str(path)!r} cannot be read: {error.strerror or error}.") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"Shard {str(path)!r} is not a regular file.")
        yield LocalShard(path, status.st_size, handle)
    finally:
        os.close(handle)
