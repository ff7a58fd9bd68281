"""Streaming reader of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipdefend.data.compressed import is_compressed
from clipdefend.data.tables.text_columns import Skip
from clipdefend.errors import DataError

MAX_LINE_BYTES = 2**20
"""Limit of a line, in bytes."""
_LINES_AT_ONCE = 8192


def jsonl_fields(path: Path) -> list[str]:
    """Return the names of the fields in the first lines of a file, in order of appearance."""
    names: dict[str, None] = {}
    for number, (_, record, _) in enumerate(_json_lines(path)):
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
        if number == 100:
            break
    if not names:
        raise DataError(
            f"Table {str(path)!r} has no JSON object in its first lines: write one object a line"
            " (jq -c '.[]' makes lines of a JSON array)."
        )
    return list(names)


def jsonl_rows(path: Path, fields: Sequence[str], skip: Skip) -> Iterator[list[pa.Array]]:
    """Yield batches of some fields as string arrays, null if a field is missing or not text; bad lines are skipped."""
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
    """Return a value if it is text that UTF-8 can encode (JSON allows lone surrogates), else None."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None


def _json_lines(path: Path) -> Iterator[tuple[int, Any, str]]:
    """Yield (line number, object, "") or (line number, None, reason) for each line that is not blank."""
    try:
        with open(path, "rb") as file:
            if is_compressed(file.read(8)):
                raise DataError(
                    f"Table {str(path)!r} is compressed: unpack it, and give the file that comes out."
                )
            file.seek(0)
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    yield number, None, f"is longer than {MAX_LINE_BYTES:,} bytes"
                    continue
                # JSON has carriage returns between values at most, so that these end lines as well.
                for part in filter(bytes.strip, line.split(b"\r")):
                    yield number, *_parse_line(part)
    except OSError as error:
        raise DataError(f"Table {str(path)!r} cannot be read: {error.strerror or error}.") from error


def _parse_line(line: bytes) -> tuple[Any, str]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON ({str(error)[:80]})"
    return (record, "") if isinstance(record, dict) else (None, "is not a JSON object")
