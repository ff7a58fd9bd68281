"""Streaming reader of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipdefend.errors import DataError

_ROWS_AT_ONCE = 8192
_IMAGE_ROWS_AT_ONCE = 64


def open_parquet(path: Path) -> Any:
    """Open a Parquet file. Raises DataError if it is not one."""
    try:
        return pq.ParquetFile(str(path), memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} is not a Parquet file: {' '.join(str(error).split())[:200]}."
        ) from error


def parquet_rows(path: Path, file: Any, names: Sequence[str], has_bytes: bool) -> Iterator[list[pa.Array]]:
    """Yield batches of some columns in the order of ``names``; batches with images have fewer rows.

    Raises:
        DataError: a page is damaged.
    """
    rows = _IMAGE_ROWS_AT_ONCE if has_bytes else _ROWS_AT_ONCE
    try:
        for batch in file.iter_batches(batch_size=rows, columns=list(names), use_threads=False):
            yield [batch.column(name) for name in names]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is damaged: {' '.join(str(error).split())[:200]}.") from error
