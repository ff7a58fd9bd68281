"""Random access to a shard, local or remote."""

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
    """A file that is read at given offsets."""

    @property
    def path(self) -> Location: ...
    @property
    def size(self) -> int: ...
    def read(self, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        ...


@dataclass(frozen=True)
class LocalShard:
    """A local file, open for reading.

    Attributes:
        path: path of the file.
        size: its size in bytes.
        handle: its file descriptor.
    """

    path: Path
    size: int
    handle: int

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.handle, size, offset)


@contextlib.contextmanager
def open_shard(path: Location) -> Iterator[Shard]:
    """Open a shard for the duration of a context. Raises DataError if it cannot be opened or is not a regular file."""
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
