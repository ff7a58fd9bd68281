"""Splits a CSV file into blocks of complete, correctly quoted records, and skips all other lines.

An opening quotation mark that is never closed would turn everything up to the next one, often the rest of the file,
into one field of one row. Here only that line is skipped and counted, and reading continues with the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np

BLOCK_BYTES = 8 * 2**20
"""Number of bytes read at once; also the limit of a line."""
MAX_FIELD_BYTES = 2**20
"""Limit, in bytes, of a quoted field with line breaks."""
UNCLOSED = "has a quotation mark that is never closed"
_QUOTE, _NEWLINE = b'"', b"\n"
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_MORE = -2
_UNSOUND = -1


@dataclass
class Records:
    """Iterates over blocks of complete records of a CSV file.

    Args:
        file: file open for reading, positioned at the first row.
        delimiter: one byte.
        is_row: whether a line looks like a row of this table. If a quoted field contains such a line, its quotation
            mark is assumed never to have been closed.
        skip: called with the line number and the reason for each line that is skipped.
        line: number of the first line.
    """

    file: IO[bytes]
    delimiter: bytes
    is_row: Callable[[bytes], bool]
    skip: Callable[[int, str], None]
    line: int = 1
    _rest: bytes = field(default=b"", init=False)
    _dropping: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[bytes]:
        ended = False
        while not ended:
            data = self.file.read(BLOCK_BYTES)
            if data.endswith(b"\r"):
                data += self.file.read(1)
            ended = not data
            # A carriage return alone ends a row for Arrow: one here as well, or several rows are skipped as one line.
            data = _LONE_RETURN.sub(_NEWLINE, data)
            buffer = self._without_long_lines(self._rest + data, ended)
            sound, consumed = self._cut(buffer, ended)
            self.line += buffer.count(_NEWLINE, 0, consumed)
            self._rest = buffer[consumed:]
            if sound:
                yield sound

    def _without_long_lines(self, buffer: bytes, ended: bool) -> bytes:
        """Return the buffer, or nothing while it is inside a line longer than a block."""
        if self._dropping:
            end = buffer.find(_NEWLINE)
            self._dropping = end < 0 and not ended
            buffer = b"" if end < 0 else buffer[end + 1 :]
            self.line += end >= 0
        if len(buffer) > BLOCK_BYTES and _NEWLINE not in buffer and not ended:
            self.skip(self.line, f"is longer than {BLOCK_BYTES:,} bytes")
            self._dropping, buffer = True, b""
        return buffer

    def _cut(self, buffer: bytes, ended: bool) -> tuple[bytes, int]:
        """Return the valid records at the start of the buffer, and the number of bytes consumed, with invalid ones."""
        end = len(buffer) if ended else buffer.rfind(_NEWLINE) + 1
        if (sound := sound_bytes(buffer[:end], self.delimiter, ended, self._is_one_field)) is not None:
            return buffer[:sound], sound
        pieces: list[bytes] = []
        start = place = 0  # of the current piece, and of what is not examined yet
        while (quote := buffer.find(_QUOTE, place, end)) >= 0:
            line = max(buffer.rfind(_NEWLINE, place, quote) + 1, place)
            after = self._record_end(buffer, line, ended)
            newline = buffer.find(_NEWLINE, line)
            if after == _MORE and (newline < 0 or len(buffer) - line < MAX_FIELD_BYTES):
                pieces.append(buffer[start:line])
                return b"".join(pieces), line
            if after < 0:
                self.skip(self.line + buffer.count(_NEWLINE, 0, line), UNCLOSED)
                pieces.append(buffer[start:line])
                start = after = len(buffer) if newline < 0 else newline + 1
            place = after
        pieces.append(buffer[start : max(end, place)])
        return b"".join(pieces), max(end, place)

    def _record_end(self, buffer: bytes, place: int, ended: bool) -> int:
        """Return the end of the record at ``place``; _UNSOUND if it is invalid, _MORE if the buffer ends first."""
        while True:
            closed = place
            if buffer.startswith(_QUOTE, place):
                closed = self._field_end(buffer, place)
                if closed < 0 or (closed == len(buffer) and not ended):
                    return closed if closed < 0 and ended else _MORE
                follows = buffer[closed : closed + 1]
                if _NEWLINE in buffer[place:closed] and not (
                    follows in (b"", b"\r", _NEWLINE, self.delimiter)
                    and self._is_one_field(buffer[place:closed])
                ):
                    return _UNSOUND
            newline = buffer.find(_NEWLINE, closed)
            delimiter = buffer.find(self.delimiter, closed, newline if newline >= 0 else len(buffer))
            if delimiter < 0:
                if newline < 0:
                    return len(buffer) if ended else _MORE
                return newline + 1
            place = delimiter + 1

    def _field_end(self, buffer: bytes, place: int) -> int:
        """Return the position after the quoted field at ``place``; _UNSOUND if the field is never closed."""
        closing = place + 1
        while (closing := buffer.find(_QUOTE, closing, place + MAX_FIELD_BYTES)) >= 0:
            if not buffer.startswith(_QUOTE, closing + 1):
                return closing + 1
            closing += 2
        return _UNSOUND

    def _is_one_field(self, text: bytes) -> bool:
        """Whether no line of a quoted field, other than its first, looks like a row of the table."""
        return not any(self.is_row(line.strip(b'\r"')) for line in text.split(_NEWLINE)[1:])


def sound_bytes(
    block: bytes, delimiter: bytes, ended: bool, is_one_field: Callable[[bytes], bool]
) -> int | None:
    """Return the length of the complete records of a block if all quoted fields are closed correctly, else None.

    This is the fast path: if it returns None, because of one odd quotation mark, records are checked one by one.

    Args:
        block: lines; the last record may continue after it.
        delimiter: one byte.
        ended: whether the block is the last.
        is_one_field: whether quoted text with line breaks is one field.
    """
    if _QUOTE not in block:
        return len(block)
    letters = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(letters == _QUOTE[0])
    end = len(block)
    if len(quotes) % 2:  # the last field goes on behind the block: leave its record to the next
        end = block.rfind(_NEWLINE, 0, int(quotes[-1])) + 1
        quotes = quotes[:-1]
        if ended or not end or (len(quotes) and end <= quotes[-1]):
            return None
    opening, closing = quotes[0::2], quotes[1::2]
    before = letters[np.maximum(opening - 1, 0)]
    after = letters[np.minimum(closing + 1, len(letters) - 1)]
    marks = [_QUOTE[0], delimiter[0], _NEWLINE[0]]
    if not (np.isin(before, marks) | (opening == 0)).all():
        return None
    if not (np.isin(after, [*marks, ord("\r")]) | (closing == len(letters) - 1)).all():
        return None
    newlines = np.flatnonzero(letters == _NEWLINE[0])
    broken = np.flatnonzero(np.searchsorted(newlines, opening) != np.searchsorted(newlines, closing))
    fields = zip(opening[broken].tolist(), closing[broken].tolist(), strict=True)
    return end if all(is_one_field(block[start : stop + 1]) for start, stop in fields) else None
