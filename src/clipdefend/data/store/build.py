"""Builds indexes: rows are streamed into a draft, which is renamed once it is complete."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from clipdefend.data.bad import MAX_EXAMPLES
from clipdefend.data.store.index import (
    BATCH_ROWS,
    FORMAT,
    MARK,
    Index,
    IndexMeta,
    identify_sources,
    read_meta,
)
from clipdefend.data.store.remote import FileIdentity
from clipdefend.data.store.shards import Location
from clipdefend.errors import DataError

_STALE_SECONDS = 86_400


class IndexWriter:
    """Collects rows and writes them in full batches; memory stays at one batch."""

    def __init__(
        self, file: IO[bytes], blob_path: Path, schema: pa.Schema, progress: Callable[[int], None] | None
    ) -> None:
        self._file = file
        self._blob_path = blob_path
        self._blob: IO[bytes] | None = None
        self._schema = schema
        self._progress = progress
        self._writer = pa.ipc.new_file(file, schema)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._hash = hashlib.blake2b(digest_size=8)
        self.rows = 0
        self.skipped = 0
        self.examples: list[str] = []
        self.has_blob = False

    def add(
        self,
        images: pa.Array,
        captions: pa.Array,
        source: int,
        offsets: Sequence[int] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> None:
        """Append rows.

        Args:
            images: image references, n strings without nulls.
            captions: n strings without nulls.
            source: number of the rows' source file.
            offsets, sizes: byte ranges of the images, if the schema has them.
        """
        columns = [images, captions, pa.array(np.full(len(images), source, np.int32))]
        if offsets is not None:
            columns += [pa.array(offsets, pa.int64()), pa.array(sizes, pa.int64())]
        self._pending.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._pending_rows += len(images)
        while self._pending_rows >= BATCH_ROWS:
            self._flush(BATCH_ROWS)

    def skip(self, where: str, reason: str) -> None:
        """Count a sample that cannot become a row."""
        self.skipped += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{where}: {reason}")

    def write_blob(self, data: Any) -> int:
        """Append bytes to the ``.bin`` file and return their offset."""
        if self._blob is None:
            self._blob = open(self._blob_path, "xb")  # noqa: SIM115  (closed by finish)
            self.has_blob = True
        start = self._blob.tell()
        self._blob.write(data)
        return start

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending).combine_chunks()
        batch = table.slice(0, rows).combine_chunks().to_batches()[0]
        for name in ("image", "caption"):
            self._hash_text(batch.column(name))
        self._writer.write_batch(batch)
        self.rows += rows
        self._pending = table.slice(rows).to_batches()
        self._pending_rows -= rows
        if self._progress is not None:
            self._progress(self.rows)

    def _hash_text(self, column: pa.Array) -> None:
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        self._hash.update(np.diff(ends).astype("<i4").tobytes())
        if data is not None:
            self._hash.update(memoryview(data)[int(ends[0]) : int(ends[-1])])

    def finish(self) -> str:
        """Write the pending rows, close the files and return the fingerprint."""
        if self._pending_rows:
            self._flush(self._pending_rows)
        self._writer.close()
        if self._blob is not None:
            self._blob.flush()
            os.fsync(self._blob.fileno())
            self._blob.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the ``.bin`` file after a failure."""
        if self._blob is not None:
            self._blob.close()


def open_index(
    cache: Path,
    name: str,
    sources: Sequence[Location],
    options: Sequence[str | None],
    schema: pa.Schema,
    build: Callable[[IndexWriter], str],
    progress: Callable[[int], None] | None = None,
) -> Index:
    """Open the index of some sources, building it unless ``cache`` holds an up-to-date one.

    Two processes may build the same index at the same time: each writes its own file, and the last rename
    wins, with equal content.

    Args:
        cache: folder of the indexes; created if it does not exist.
        name: the source as the user gave it, for messages.
        sources: files, and folders whose listing matters; an index is up to date if their paths, sizes and
            modification times have not changed.
        options: everything else that changes the rows, such as the chosen columns.
        schema: PATHS or BYTES.
        build: writes the rows and returns one line about the recognised format.
        progress: called now and then with the number of rows written so far.

    Raises:
        DataError: there is no usable row, a source changes while it is read, or the cache is not writable.
    """
    try:
        # Before the sources are identified: the cache may lie in a folder that is a source.
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(cache, name, error) from error
    stamps = identify_sources(sources)
    identity = json.dumps([FORMAT, schema.names, list(options), [path for path, _, _ in stamps]])
    path = cache / f"pairs-{hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()}.arrow"
    index = _open_cached(path, stamps)
    if index is None:
        try:
            _drop_stale(cache)
            index = _build(path, name, sources, stamps, schema, build, progress)
        except OSError as error:
            raise _unwritable(cache, name, error) from error
    return index


def _unwritable(cache: Path, name: str, error: OSError) -> DataError:
    return DataError(
        f"The index of {name!r} cannot be written to {cache}: {error.strerror or error}."
        " Free some space or choose a writable folder."
    )


def _open_cached(path: Path, stamps: list[FileIdentity]) -> Index | None:
    try:
        meta = read_meta(path)
        index = Index(path, meta)
        if meta.stamps != stamps or (meta.blob and not index.blob_path.is_file()):
            return None
        index.open()
    except (OSError, ValueError, DataError):
        return None  # missing, truncated or damaged: build it again
    return index


def _build(
    path: Path,
    name: str,
    sources: Sequence[Location],
    stamps: list[FileIdentity],
    schema: pa.Schema,
    build: Callable[[IndexWriter], str],
    progress: Callable[[int], None] | None,
) -> Index:
    draft = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    blob_draft = draft.with_suffix(".bin.tmp")
    try:
        with (
            open(draft, "xb") as file,
            contextlib.closing(IndexWriter(file, blob_draft, schema, progress)) as writer,
        ):
            recognised = build(writer)
            fingerprint = writer.finish()
            meta = _meta(writer, name, recognised, fingerprint, stamps, file.tell())
            if identify_sources(sources) != stamps:
                raise DataError(
                    f"Data source {name!r} changed while it was being read: start again when it is complete."
                )
            record = json.dumps(dataclasses.asdict(meta)).encode()
            file.write(record + len(record).to_bytes(8, "little") + MARK)
            file.flush()
            os.fsync(file.fileno())
        index = Index(path, meta)
        if meta.blob:
            os.replace(blob_draft, index.blob_path)
        os.replace(draft, path)
    finally:
        for leftover in (draft, blob_draft):
            leftover.unlink(missing_ok=True)
    return index


def _meta(
    writer: IndexWriter,
    name: str,
    recognised: str,
    fingerprint: str,
    stamps: list[FileIdentity],
    arrow_bytes: int,
) -> IndexMeta:
    if not writer.rows:
        first = f" The first problem: {writer.examples[0]}." if writer.examples else ""
        raise DataError(f"Data source {name!r} ({recognised}) has no usable pair.{first}")
    skipped = f", {writer.skipped:,} samples skipped" if writer.skipped else ""
    return IndexMeta(
        rows=writer.rows,
        fingerprint=fingerprint,
        recognised=f"{recognised}, {writer.rows:,} rows{skipped}",
        stamps=stamps,
        skipped=writer.skipped,
        examples=writer.examples,
        blob=writer.has_blob,
        arrow_bytes=arrow_bytes,
    )


def _drop_stale(cache: Path) -> None:
    """Remove the leftovers of builds that were killed."""
    for leftover in cache.glob(".pairs-*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                leftover.unlink()
