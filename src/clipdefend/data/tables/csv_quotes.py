"""Cut a CSV file into blocks of whole, well-quoted records, and take out the lines that are not.

A quotation mark that opens a field and is never closed would make everything up to the next one, often the rest of
the file, one field of one row. Here such a line alone is taken out and counted, and reading goes on with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np

BLOCK_BYTES = 8 * 2**20
"""Bytes that are read at once; also the longest line."""
MAX_FIELD_BYTES = 2**20
"""Longest quoted field that may hold line breaks."""
UNCLOSED = "has a quotation mark that is never closed"
_QUOTE, _NEWLINE = b'"', b"\n"
_MORE = -2
_UNSOUND = -1


@dataclass
class Records:
    """Blocks of whole records of a CSV file.

    Args:
        file: opened for reading, at the first row.
        delimiter: one byte.
        is_row: whether a line looks like a row of this table. A quoted field that holds such a line is taken for
            one whose quotation mark was never closed.
        skip: told the line number and the reason for each line that is taken out.
        line: number of the first line.
        old_mac: lines end in carriage returns alone.
    """

    file: IO[bytes]
    delimiter: bytes
    is_row: Callable[[bytes], bool]
    skip: Callable[[int, str], None]
    line: int = 1
    old_mac: bool = False
    _rest: bytes = field(default=b"", init=False)
    _dropping: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[bytes]:
        ended = False
        while not ended:
            data = self.file.read(BLOCK_BYTES)
            ended = not data
            if self.old_mac:
                data = data.replace(b"\r", _NEWLINE)
            buffer = self._without_long_lines(self._rest + data, ended)
            sound, consumed = self._cut(buffer, ended)
            self.line += buffer.count(_NEWLINE, 0, consumed)
            self._rest = buffer[consumed:]
            if sound:
                yield sound

    def _without_long_lines(self, buffer: bytes, ended: bool) -> bytes:
        """The buffer, or nothing while it lies inside a line that is longer than a block."""
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
        """Sound records from the beginning of the buffer, and how many bytes of it they and the unsound take."""
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
        """Where the record that begins at ``place`` ends; _UNSOUND, or _MORE where the buffer ends before it."""
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
        """First byte behind the quoted field that begins at ``place``; _UNSOUND where it is never closed."""
        closing = place + 1
        while (closing := buffer.find(_QUOTE, closing, place + MAX_FIELD_BYTES)) >= 0:
            if not buffer.startswith(_QUOTE, closing + 1):
                return closing + 1
            closing += 2
        return _UNSOUND

    def _is_one_field(self, text: bytes) -> bool:
        """Whether no line of a quoted field but its first looks like a row of the table."""
        return not any(self.is_row(line.strip(b'\r"')) for line in text.split(_NEWLINE)[1:])


def sound_bytes(
    block: bytes, delimiter: bytes, ended: bool, is_one_field: Callable[[bytes], bool]
) -> int | None:
    """Length of the whole records of a block in which every quoted field is closed as it should be, or None.

    Quick, and strict: where it says None, for one odd quotation mark, the block is looked at record by record.

    Args:
        block: lines; the last record may go on behind it.
        delimiter: one byte.
        ended: nothing follows the block.
        is_one_field: whether a quoted text with line breaks is one field.
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
