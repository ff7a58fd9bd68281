"""What changes when image files do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from clipdefend.data.decode import ImageError


def stamp_files(rows: Iterable[int], encoded: Callable[[int], bytes | Path], sources: Any) -> str:
    """Hash the bytes and times of change of images.

    Args:
        rows: whose images are files of their own.
        encoded: row -> its file. May raise ImageError.
        sources: stamps of the files that hold the other images, and the rows.
    """
    digest = hashlib.sha256(repr(sources).encode())
    for row in rows:
        try:
            status = os.stat(encoded(row))
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except (ImageError, OSError):
            digest.update(b"missing\n")
    return digest.hexdigest()
