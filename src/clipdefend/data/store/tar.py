"""Locates the members of a tar archive. Nothing is ever extracted: members are read by offset and size.

This strict reader replaces ``tarfile``: it takes a third of the time, its memory does not grow with the archive,
and no path, link or device of the archive ever reaches the file system.

Reference: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar
Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clipdefend.data.compressed import is_compressed
from clipdefend.data.store.shards import Shard
from clipdefend.errors import DataError

BLOCK = 512
_MARK, _MARK_OFFSET = b"ustar", 257
MAX_EXTENDED_BYTES = 2**20
"""Largest extended header (long names, pax records)."""
MAX_SEARCH_BYTES = 256 * 2**20
"""Search range for the next header after a damaged one; larger than the largest image that is read."""
_SEARCH_BLOCK = 2**20
_REGULAR = (b"0", b"\0", b"7")
_NO_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_PAX_RECORD = re.compile(rb"(\d{1,20}) ([^=]+)=")


class _Stop(Exception):  # noqa: N818  (an ordinary archive ends with one)
    """The chain of members ends here.

    Args:
        reason: the cause, for people.
        position: offset of the header in bytes.
        final: whether nothing can follow.
        at_mark: whether the chain ends with two blocks of zeros, as an archive should.
    """

    def __init__(self, reason: str, position: int, *, final: bool = False, at_mark: bool = False) -> None:
        super().__init__(reason)
        self.position, self.final, self.at_mark = position, final, at_mark


@dataclass(frozen=True, slots=True)
class Gap:
    """A damaged part of an archive, in which at least one member is lost."""

    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its name as stored, whether it is a regular file, and the offset and size of its bytes."""

    name: str
    regular: bool
    offset: int
    size: int


def members(shard: Shard) -> Iterator[Member | Gap]:
    """Yield the members of an uncompressed tar in order, without folders, and the gaps between them.

    After a damaged header the reader searches for the next 512-byte block with the mark ``ustar`` and a valid
    checksum. Concatenated archives are read as one.

    Raises:
        DataError: the file cannot be read, is empty or compressed, or contains no tar header.
    """
    try:
        _check_start(shard)
        yield from _walk(shard)
    except OSError as error:
        raise DataError(f"Shard {str(shard.path)!r} cannot be read: {error.strerror or error}.") from error


def read_at(shard: Shard, member: Member) -> bytes:
    """Return the bytes of a member; empty if reading fails."""
    try:
        return shard.read(member.size, member.offset)
    except OSError:
        return b""


def _check_start(shard: Shard) -> None:
    header, path = shard.read(BLOCK, 0), shard.path
    if not shard.size:
        raise DataError(
            f"Shard {str(path)!r} is empty (0 bytes), as a failed download leaves it:"
            " download it again, or leave it out of the files that you name."
        )
    if is_compressed(header):
        raise DataError(
            f"Shard {str(path)!r} is compressed: unpack it to a plain .tar, images are compressed already."
        )
    sound = not header.strip(b"\0") or (len(header) == BLOCK and _checksum_fits(header))
    if not sound and _next_header(shard, 0)[0] is None:
        raise DataError(f"Shard {str(path)!r} is not a tar archive.")


def _walk(shard: Shard) -> Iterator[Member | Gap]:
    position: int | None = 0
    while position is not None:
        try:
            yield from _follow(shard, position)
        except _Stop as stop:
            position, zeros = (None, True) if stop.final else _next_header(shard, stop.position)
            if not (stop.at_mark and (zeros or position is None)):
                yield Gap(str(stop))


def _follow(shard: Shard, position: int) -> Iterator[Member]:
    """Yield members from a header on, as long as each leads to the next. Always ends by raising _Stop."""
    total = shard.size
    long_name: str | None = None
    long_size: int | None = None
    while True:
        header = shard.read(BLOCK, position)
        _check_header(shard, header, position)
        kind = header[156:157]
        offset = position + BLOCK
        size = 0 if kind in _NO_DATA else _number(header[124:136], position)
        if kind not in (b"x", b"g", b"L", b"K") and long_size is not None and kind not in _NO_DATA:
            size = long_size
        if offset + size > total:
            where = f"within a member that begins at byte {position:,}"
            raise _Stop(f"cut off at byte {total:,} {where}", position, final=True)
        if kind == b"S":
            raise _Stop(f"sparse member at byte {position:,}, which is not supported", position)
        if kind in (b"x", b"L"):
            if size > MAX_EXTENDED_BYTES:
                raise _Stop(f"extended header of {size:,} bytes at byte {position:,}", position)
            data = shard.read(size, offset)
            if kind == b"L":
                long_name = _decode(data.rstrip(b"\0"))
            else:
                name, long_size = _pax(data, position)
                long_name = name if name is not None else long_name
        elif kind not in (b"g", b"K"):
            name = long_name if long_name is not None else _name(header)
            folder = kind == b"5" or (kind == b"\0" and name.endswith("/"))
            if not folder:
                yield Member(name, kind in _REGULAR, offset, size)
            long_name = long_size = None
        position = offset + -(-size // BLOCK) * BLOCK


def _check_header(shard: Shard, header: bytes, position: int) -> None:
    """Raise _Stop if a header is damaged or marks the end of the archive or of the file."""
    if not header:
        reason = "ends without the mark of its end, as a download that was cut off does"
        raise _Stop(reason, position, final=True)
    if not header.strip(b"\0"):
        at_mark = not shard.read(BLOCK, position + BLOCK).strip(b"\0")
        raise _Stop(f"damaged header at byte {position:,}", position, at_mark=at_mark)
    if len(header) < BLOCK:
        raise _Stop(f"cut off at byte {shard.size:,} within a header", position, final=True)
    if not _checksum_fits(header):
        raise _Stop(f"damaged header at byte {position:,}", position)


def _next_header(shard: Shard, start: int) -> tuple[int | None, bool]:
    """Return the offset of the next valid header after ``start``, or None; and whether only zeros precede it."""
    zeros = True
    place = start + BLOCK
    stop = min(shard.size, start + MAX_SEARCH_BYTES)
    while place < stop:
        data = shard.read(_SEARCH_BLOCK, place)
        mark = data.find(_MARK)
        while mark >= 0:
            block, rest = divmod(mark, BLOCK)
            header = data[block * BLOCK : (block + 1) * BLOCK]
            if rest == _MARK_OFFSET and len(header) == BLOCK and _checksum_fits(header):
                return place + block * BLOCK, zeros and not data[: block * BLOCK].strip(b"\0")
            mark = data.find(_MARK, mark + 1)
        zeros = zeros and not data.strip(b"\0")
        place += _SEARCH_BLOCK
    return None, zeros


def _checksum_fits(header: bytes) -> bool:
    """Whether the checksum is right: the sum of the header with blanks in its place; old tars sum signed bytes."""
    field = header[148:156].strip(b" \0")
    try:
        stored = int(field, 8)
    except ValueError:
        return False
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if stored == total:
        return True
    rest = header[:148] + header[156:]
    return stored == total - 256 * sum(byte > 127 for byte in rest)


def _number(field: bytes, position: int) -> int:
    """Parse octal digits, or GNU's base 256 for sizes from 8 GiB."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        value = int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        value = -1
    if value < 0:
        raise _Stop(f"damaged size at byte {position:,}", position)
    return value


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return _decode(prefix + b"/" + name if prefix else name)


def _decode(name: bytes) -> str:
    """Decode a name; bytes that are not UTF-8 are spelled out, so that two names never become one."""
    return name.decode("utf-8", errors="backslashreplace")


def _pax(data: bytes, position: int) -> tuple[str | None, int | None]:
    """Parse the path and the size out of a pax header, whose records are "LENGTH KEY=VALUE\\n"."""
    name: str | None = None
    size: int | None = None
    start = 0
    while start < len(data) and data[start] != 0:
        record = _PAX_RECORD.match(data, start)
        length = int(record[1]) if record else 0
        if record is None or length <= record.end() - start or start + length > len(data):
            raise _Stop(f"damaged pax header at byte {position:,}", position)
        value = data[record.end() : start + length - 1]
        if record[2] == b"path":
            name = _decode(value)
        elif record[2] == b"size":
            if not value.isdigit() or len(value) > 18:
                raise _Stop(f"damaged pax header at byte {position:,}", position)
            size = int(value)
        start += length
    return name, size
