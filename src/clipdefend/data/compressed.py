"""Recognises compressed files, to refuse them by name.

None is read: images are compressed already, random access would need an unpacked copy, and a small file may unpack to
terabytes.
"""

from __future__ import annotations

ENDINGS = frozenset({".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".lz4", ".zip", ".7z", ".rar"})
"""File name endings of compressed files, in lower case."""
_MAGIC = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"PK\x03\x04",
    b"7z\xbc\xaf",
)


def is_compressed(head: bytes) -> bool:
    """Whether the first bytes of a file are those of gzip, bzip2, xz, Zstandard, LZ4, zip or 7-Zip."""
    return head.startswith(_MAGIC)
