"""Streaming reader of CSV and TSV files: memory does not grow with the number of rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from clipdefend.data.compressed import is_compressed
from clipdefend.data.decode import SUFFIXES
from clipdefend.data.tables.csv_quotes import Records
from clipdefend.data.tables.text_columns import Skip, find_column
from clipdefend.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
_HEAD_BYTES = 2**20
_MAX_COLUMNS = 4096
_SEPARATORS = "".join(DELIMITERS).encode()
_BOM = b"\xef\xbb\xbf"
_MAX_NUL_SHARE = 1 / 16
"""Text has no NUL bytes but where it is damaged; UTF-16 without a byte order mark is half NUL, images hold many."""
_IMAGE_PATH = re.compile(rb"\.(?:%s)$" % "|".join(sorted(SUFFIXES)).encode(), re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """Columns and delimiter of a CSV file, and the position of its first row.

    Args:
        delimiter: one ASCII character.
        names: names of the columns.
        start: number of bytes before the first row.
        lines: number of lines before the first row.
    """

    delimiter: str
    names: list[str]
    start: int = 0
    lines: int = 0


def read_header(
    path: Path, delimiter: str | None, wanted: Sequence[tuple[str | None, Sequence[str]]]
) -> Header:
    """Detect the delimiter: the one whose header has the wanted columns, else the one that gives the most columns.

    Empty lines before the header are ignored.

    Args:
        path: the table.
        delimiter: the user's delimiter; a tab may be written as ``\\t`` or ``tab``. None tries DELIMITERS.
        wanted: for each required column, the name given by the user or None, and the candidates.

    Raises:
        DataError: the file is empty or not UTF-8, or the delimiter has several characters.
    """
    if delimiter is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter.lower(), delimiter)
        if len(delimiter) != 1 or delimiter in '\r\n"' or ord(delimiter) > 127:
            raise DataError(
                f"--csv-separator {delimiter!r} is not one ASCII character: give one such as ',' or '\\t'."
            )
    head = _head(path)
    lines = head.removeprefix(_BOM).splitlines(keepends=True)
    first = next((place for place, line in enumerate(lines) if line.strip().strip(_SEPARATORS)), len(lines))
    best: tuple[int, int] = (-1, -1)
    header = Header(",", [])
    for candidate in [delimiter] if delimiter is not None else DELIMITERS:
        reader = csv.reader((line.decode(errors="replace") for line in lines[first:]), delimiter=candidate)
        try:
            names = next(reader, [])
        except csv.Error:
            continue
        found = sum(find_column(names, given, candidates) is not None for given, candidates in wanted)
        if (found, len(names)) > best:
            best, used = (found, len(names)), first + reader.line_num
            start = len(head) - len(head.removeprefix(_BOM)) + sum(map(len, lines[:used]))
            header = Header(candidate, names, start, used)
    if not header.names:
        raise DataError(f"Table {str(path)!r} is empty: it needs a line of column names and rows.")
    if len(header.names) > _MAX_COLUMNS:
        raise DataError(f"Table {str(path)!r} has {len(header.names):,} columns, more than {_MAX_COLUMNS:,}.")
    return header


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"Table {str(path)!r} cannot be read: {error.strerror or error}.") from error
    if is_compressed(head):
        raise DataError(f"Table {str(path)!r} is compressed: unpack it, and give the file that comes out.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(b"\0") > _MAX_NUL_SHARE * len(head):
        raise DataError(f"Table {str(path)!r} is not UTF-8 text: save it as UTF-8.")
    return head


def csv_rows(path: Path, header: Header, columns: Sequence[int], skip: Skip) -> Iterator[list[pa.Array]]:
    """Yield batches of some columns, as binary arrays. Quoted fields may contain line breaks.

    Every line after the header that is not blank is a row (or part of one, inside quotation marks): it is yielded
    or passed to ``skip``.

    Args:
        path: the table.
        header: header of the table.
        columns: positions of the columns; the first contains image paths.
        skip: called for each row that cannot be read.

    Yields:
        One array for each of ``columns``, all of the same length.

    Raises:
        DataError: the file cannot be read or parsed.
    """
    width, image = len(header.names), columns[0]
    delimiter = header.delimiter.encode()

    def is_row(line: bytes) -> bool:
        fields = line.split(delimiter)
        return len(fields) == width and _IMAGE_PATH.search(fields[image].strip()) is not None

    def skip_line(line: int, reason: str) -> None:
        skip(f"{path.name}, line {line:,}", reason)

    try:
        with open(path, "rb") as file:
            file.seek(header.start)
            records = Records(file, delimiter, is_row, skip_line, header.lines + 1)
            for block in records:
                if block.strip():
                    yield from _parse(path, header, columns, block, skip)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"Table {str(path)!r} cannot be parsed: {' '.join(str(error).split())[:300]}."
        ) from error


def _parse(
    path: Path, header: Header, columns: Sequence[int], block: bytes, skip: Skip
) -> Iterator[list[pa.Array]]:
    """Parse complete records."""
    names = [str(place) for place in range(len(header.names))]
    chosen = [names[place] for place in columns]

    def skip_row(row: Any) -> str:
        reason = f"has {row.actual_columns} columns, not {row.expected_columns}"
        if row.actual_columns > row.expected_columns:
            reason += f"; a text with {header.delimiter!r} in it must stand in quotation marks"
        skip(f"{path.name}, row {row.text[:60]!r}", reason)
        return "skip"

    table = pa.csv.read_csv(
        pa.BufferReader(block),
        read_options=pa.csv.ReadOptions(column_names=names, block_size=len(block) + 1, use_threads=False),
        parse_options=pa.csv.ParseOptions(
            delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=skip_row
        ),
        convert_options=pa.csv.ConvertOptions(
            include_columns=chosen,
            column_types=dict.fromkeys(chosen, pa.binary()),
            strings_can_be_null=False,
        ),
    )
    for batch in table.to_batches():
        yield [batch.column(name) for name in chosen]
