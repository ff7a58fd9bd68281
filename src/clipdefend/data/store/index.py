"""One memory-mapped Arrow file per set of pairs: built once by streaming, then read row by row at any size.

Layout of an index file: an uncompressed Arrow IPC file with batches of exactly BATCH_ROWS rows (the last may
be shorter), so that a row is found by one division; a JSON trailer, ``IndexMeta``; the trailer's length (8
bytes, little endian); and a mark, which a truncated file lacks. Empty text means "not usable".
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipdefend.data.store import remote
from clipdefend.data.store.remote import FileIdentity, RemoteFile
from clipdefend.errors import DataError

FORMAT = 3
BATCH_ROWS = 16_384
MARK = b"CLIPDEFEND-INDEX"
_RELEASE_EVERY = 512

TEXT_COLUMNS = [
    pa.field("image", pa.string()),
    pa.field("caption", pa.string()),
    pa.field("source", pa.int32()),
]
PATHS = pa.schema(TEXT_COLUMNS)
"""Each image is a file."""
BYTES = pa.schema([*TEXT_COLUMNS, pa.field("offset", pa.int64()), pa.field("size", pa.int64())])
"""Each image is a byte range of a source file or of the index's ``.bin`` file; a size of -1 marks a whole file."""


@dataclass(frozen=True)
class IndexMeta:
    """Metadata of an index.

    Args:
        rows: number of rows.
        fingerprint: hash of all image references and captions.
        recognised: one line about the recognised format, for people.
        stamps: identity of every source when the index was built; the name is that of the index format.
        skipped: number of samples that did not become rows.
        examples: the first reasons for skipping a sample.
        blob: whether byte ranges refer to the ``.bin`` file beside the index.
        arrow_bytes: length of the Arrow part.
    """

    rows: int
    fingerprint: str
    recognised: str
    stamps: list[FileIdentity]
    skipped: int
    examples: list[str]
    blob: bool
    arrow_bytes: int
    format: int = FORMAT


def identify(path: Path) -> FileIdentity:
    """Return (path, bytes, modification time in ns) of a file or folder. Raises DataError if it is gone."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"Data source {str(path)!r} cannot be read: {error.strerror or error}.") from error
    return (str(path), status.st_size, status.st_mtime_ns)


def identify_sources(sources: Sequence[Path | RemoteFile]) -> list[FileIdentity]:
    """Return the identities of source files, which are all local or all remote."""
    far = [source for source in sources if isinstance(source, RemoteFile)]
    return remote.identify_all(far) + [identify(source) for source in sources if isinstance(source, Path)]


@dataclass
class Index:
    """Read-only view of an index file, opened lazily in each process; only its path and metadata are pickled."""

    path: Path
    meta: IndexMeta
    _map: mmap.mmap | None = field(default=None, repr=False)
    _reader: Any = field(default=None, repr=False)
    _batches: dict[int, list[pa.Array]] = field(default_factory=dict, repr=False)
    _reads: int = field(default=0, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "meta": self.meta}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def blob_path(self) -> Path:
        return self.path.with_suffix(".bin")

    def open(self) -> None:
        """Map the file into memory. Raises DataError if it no longer is the file that ``meta`` describes."""
        try:
            if read_meta(self.path) != self.meta:
                raise ValueError("it was rebuilt from changed data")
            with open(self.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):
                self._map.madvise(mmap.MADV_RANDOM)
            arrow = pa.py_buffer(self._map).slice(0, self.meta.arrow_bytes)
            self._reader = pa.ipc.open_file(pa.BufferReader(arrow))
            full, rest = divmod(self.meta.rows - 1, BATCH_ROWS)
            if (
                self._reader.num_record_batches != full + 1
                or self._reader.get_batch(full).num_rows != rest + 1
            ):
                raise ValueError("row count differs from the header")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"Index {self.path} cannot be used: {error}. Delete it and start again."
            ) from error

    def _columns(self, batch: int) -> list[pa.Array]:
        columns = self._batches.get(batch)
        if columns is None:
            if self._reader is None:
                self.open()
            columns = self._batches[batch] = self._reader.get_batch(batch).columns
        return columns

    def value(self, column: int, row: int) -> Any:
        """Return one value, in time independent of the number of rows."""
        if not 0 <= row < self.meta.rows:
            raise IndexError(f"row {row} of {self.meta.rows}")
        batch, place = divmod(row, BATCH_ROWS)
        value = self._columns(batch)[column][place].as_py()
        self._reads += 1
        if self._reads % _RELEASE_EVERY == 0:
            self.release()
        return value

    def texts(self, column: int, start: int, stop: int) -> list[str]:
        """Return the values of rows ``start`` to ``stop`` (exclusive)."""
        values: list[str] = []
        while start < stop:
            batch, place = divmod(start, BATCH_ROWS)
            piece = self._columns(batch)[column].slice(place, stop - start)
            values.extend(piece.to_pylist())
            start += len(piece)
        self.release()
        return values

    def release(self) -> None:
        """Release mapped pages, so that random reads do not make the whole file resident in memory."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def read_meta(path: Path) -> IndexMeta:
    """Read the trailer of an index file. Raises OSError or ValueError unless it is a complete index of this format."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = len(MARK) + 8
        if size < tail:
            raise ValueError("file is cut off")
        file.seek(size - tail)
        ending = file.read(tail)
        length = int.from_bytes(ending[:8], "little")
        if ending[8:] != MARK or length > size - tail:
            raise ValueError("file is cut off or damaged")
        file.seek(size - tail - length)
        record = json.loads(file.read(length))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError("index of another format")
    try:
        record["stamps"] = [(str(name), int(size), int(time_ns)) for name, size, time_ns in record["stamps"]]
        meta = IndexMeta(**record)
    except (KeyError, TypeError) as error:
        raise ValueError("index of another format") from error
    if meta.arrow_bytes != size - tail - length:
        raise ValueError("file is damaged")
    return meta
