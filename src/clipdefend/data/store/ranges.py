"""Reads byte ranges of large files, which are kept open, from any thread or forked worker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from clipdefend.data.decode import ImageError
from clipdefend.data.store.remote import FileIdentity

_MAX_OPEN = 32


@dataclass
class ByteRanges:
    """Byte ranges of local files, which must not have changed since they were indexed.

    Args:
        stamps: (path, bytes, modification time in ns) of each file.
    """

    stamps: Sequence[FileIdentity]
    _open: dict[int, IO[bytes]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"stamps": self.stamps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Read ``size`` bytes of file ``number`` from ``offset`` on, without moving a file position.

        Raises:
            ImageError: the file is gone, has changed or is truncated.
        """
        try:
            file = self._file(number)
            data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise ImageError(f"{self.stamps[number][0]} cannot be read: {error.strerror or error}") from error
        if len(data) != size:
            raise ImageError(f"{self.stamps[number][0]} ends before byte {offset + size:,}")
        return data

    def prefetch(self, places: Sequence[tuple[int, int, int]]) -> None:
        """Do nothing: reading ahead gains nothing on a local disk."""

    def _file(self, number: int) -> IO[bytes]:
        file = self._open.get(number)
        if file is None:
            path, size, time_ns = self.stamps[number]
            file = open(path, "rb")  # noqa: SIM115  (closed when its last reader is garbage-collected)
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (size, time_ns):
                raise ImageError(f"{path} has changed since it was indexed; start again")
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open)), None)
            self._open[number] = file
        return file
