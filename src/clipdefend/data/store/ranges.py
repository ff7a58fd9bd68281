"""Read byte ranges of large files that stay open, from any thread or forked worker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from clipdefend.data.decode import ImageError
from clipdefend.data.store.remote import Stamp

_MAX_OPEN = 32


@dataclass
class ByteRanges:
    """Byte ranges of files that must still be what they were when they were indexed.

    Args:
        stamps: (path, bytes, modification time in ns) of each file.
    """

    stamps: Sequence[Stamp]
    _open: dict[int, IO[bytes]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"stamps": self.stamps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, number: int, offset: int, size: int) -> bytes:
        """``size`` bytes of file ``number``, in one read that moves no file position.

        Raises:
            ImageError: the file vanished, changed or is shorter than it was.
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
        """Nothing to be gained on a local disk."""

    def _file(self, number: int) -> IO[bytes]:
        file = self._open.get(number)
        if file is None:
            path, size, time_ns = self.stamps[number]
            file = open(path, "rb")  # noqa: SIM115  (closed when the last reader lets go of it)
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (size, time_ns):
                raise ImageError(f"{path} has changed since it was indexed; start again")
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open)), None)
            self._open[number] = file
        return file
