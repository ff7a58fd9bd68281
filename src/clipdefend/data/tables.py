"""Streaming readers of tables: CSV and its kin, JSON lines, Parquet. Memory does not grow with the number
of rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from clipdefend.data.decode import ImageError, read_regular
from clipdefend.data.text_columns import find_column
from clipdefend.errors import DataError

Skip = Callable[[str, str], None]
"""Told of each row that cannot be read: where it stands, and why."""

DELIMITERS = (",", "\t", ";", "|")
BLOCK_BYTES = 16 * 2**20
"""Block of a CSV file that is parsed at once; also the longest row."""
MAX_LINE_BYTES = 2**20
"""Longest line of a JSON lines file."""
_HEAD_BYTES = 2**20
_MAX_COLUMNS = 4096
_LINES_AT_ONCE = 8192
_IMAGE_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Header:
    """Columns of a CSV file, what separates them, and whether anything follows them."""

    delimiter: str
    names: list[str]
    rows_follow: bool


def read_header(
    path: Path, delimiter: str | None, wanted: Sequence[tuple[str | None, Sequence[str]]]
) -> Header:
    """Find out the delimiter: the one whose header has the wanted columns, else the one that gives most
    columns.

    Args:
        path: the table.
        delimiter: the user's; ``"\\t"`` may be written out as ``\\t`` or ``tab``. None: one of DELIMITERS.
        wanted: for each column that is needed, the name given by the user or None, and the candidates.

    Raises:
        DataError: empty, not UTF-8 text, or a delimiter of several characters.
    """
    head = _head(path)
    if delimiter is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter.lower(), delimiter)
        if len(delimiter) != 1 or delimiter in '\r\n"' or ord(delimiter) > 127:
            raise DataError(
                f"--csv-separator {delimiter!r} is not one ASCII character: give one such as ',' or '\\t'."
            )
    best: tuple[int, int] = (-1, -1)
    header = Header(",", [], False)
    for candidate in [delimiter] if delimiter is not None else DELIMITERS:
        try:
            lines = csv.reader(io.StringIO(head, newline=""), delimiter=candidate)
            names = next(lines, [])
        except csv.Error:
            continue
        found = sum(find_column(names, given, candidates) is not None for given, candidates in wanted)
        if (found, len(names)) > best:
            best, header = (found, len(names)), Header(candidate, names, _goes_on(lines))
    if not header.names:
        raise DataError(f"Table {str(path)!r} is empty: it needs a line of column names and rows.")
    if len(header.names) > _MAX_COLUMNS:
        raise DataError(f"Table {str(path)!r} has {len(header.names):,} columns, more than {_MAX_COLUMNS:,}.")
    return header


def _goes_on(lines: Iterator[list[str]]) -> bool:
    try:
        return next((True for line in lines if line), False)
    except csv.Error:
        return True  # more follows, whatever it is


def _head(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"Table {str(path)!r} cannot be read: {error.strerror or error}.") from error
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise DataError(f"Table {str(path)!r} is not UTF-8 text: save it as UTF-8.")
    return head.decode("utf-8-sig", errors="replace").lstrip("\r\n")


def csv_rows(path: Path, header: Header, columns: Sequence[int], skip: Skip) -> Iterator[list[pa.Array]]:
    """Batches of some columns, as binary arrays in the order of ``columns``. Quoted fields may hold line
    breaks.

    Raises:
        DataError: the file cannot be parsed, as with a quote that is never closed.
    """
    if not header.rows_follow:
        return
    names = [str(place) for place in range(len(header.names))]

    def bad_row(row: Any) -> str:
        where = (
            f"{path.name}, row {row.number}"
            if row.number is not None
            else f"{path.name}, row {row.text[:60]!r}"
        )
        skip(where, f"has {row.actual_columns} columns, not {row.expected_columns}")
        return "skip"

    chosen = [names[place] for place in columns]
    try:
        reader = pa.csv.open_csv(
            str(path),
            read_options=pa.csv.ReadOptions(
                column_names=names, skip_rows_after_names=1, block_size=BLOCK_BYTES, use_threads=False
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=bad_row
            ),
            convert_options=pa.csv.ConvertOptions(
                include_columns=chosen,
                column_types=dict.fromkeys(chosen, pa.binary()),
                strings_can_be_null=False,
            ),
        )
        for batch in reader:
            yield [batch.column(name) for name in chosen]
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"Table {str(path)!r} cannot be parsed: {reason[:300]}. Look for a quote that is never closed."
        ) from error


def jsonl_fields(path: Path) -> list[str]:
    """Names of the fields in the first lines of a JSON lines file, in order of appearance."""
    names: dict[str, None] = {}
    for number, (_, record, _) in enumerate(_json_lines(path)):
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
        if number == 100:
            break
    if not names:
        raise DataError(
            f"Table {str(path)!r} has no JSON object in its first lines: write one object a line."
        )
    return list(names)


def jsonl_rows(path: Path, fields: Sequence[str], skip: Skip) -> Iterator[list[pa.Array]]:
    """Batches of some fields as string arrays; null where a field is absent or no text. Bad lines are
    skipped.
    """
    columns: list[list[str | None]] = [[] for _ in fields]
    for number, record, problem in _json_lines(path):
        if problem:
            skip(f"{path.name}, line {number}", problem)
            continue
        for column, name in zip(columns, fields, strict=True):
            column.append(_plain_text(record.get(name)))
        if len(columns[0]) == _LINES_AT_ONCE:
            yield [pa.array(column, pa.string()) for column in columns]
            columns = [[] for _ in fields]
    if columns[0]:
        yield [pa.array(column, pa.string()) for column in columns]


def _plain_text(value: object) -> str | None:
    """Text that UTF-8 can hold (JSON can spell half a surrogate pair), else None."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None


def _json_lines(path: Path) -> Iterator[tuple[int, Any, str]]:
    """(line number, object, "") or (line number, None, reason) for each line that is not blank."""
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    yield number, None, f"is longer than {MAX_LINE_BYTES:,} bytes"
                elif line.strip():
                    yield number, *_parse_line(line)
    except OSError as error:
        raise DataError(f"Table {str(path)!r} cannot be read: {error.strerror or error}.") from error


def _parse_line(line: bytes) -> tuple[Any, str]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON ({str(error)[:80]})"
    return (record, "") if isinstance(record, dict) else (None, "is not a JSON object")


def open_parquet(path: Path) -> Any:
    """Raises DataError when the file is no Parquet."""
    try:
        return pq.ParquetFile(str(path), memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} is not a Parquet file: {' '.join(str(error).split())[:200]}."
        ) from error


def parquet_rows(path: Path, file: Any, names: Sequence[str], has_bytes: bool) -> Iterator[list[pa.Array]]:
    """Batches of some columns in the order of ``names``; few rows at once where they hold images.

    Raises:
        DataError: damaged pages.
    """
    rows = _IMAGE_ROWS_AT_ONCE if has_bytes else _LINES_AT_ONCE
    try:
        for batch in file.iter_batches(batch_size=rows, columns=list(names), use_threads=False):
            yield [batch.column(name) for name in names]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is damaged: {' '.join(str(error).split())[:200]}.") from error


def read_text(path: Path, limit: int) -> str:
    """A small UTF-8 text file. Raises DataError when it is missing, too large or not UTF-8."""
    try:
        return read_regular(path, limit).decode("utf-8-sig")
    except ImageError as error:
        raise DataError(f"File {str(path)!r}: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"File {str(path)!r} is not UTF-8 text: save it as UTF-8.") from error
