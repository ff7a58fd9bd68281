"""A hash that changes when image files do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from clipdefend.data.decode import ImageError


def digest_files(rows: Iterable[int], encoded: Callable[[int], bytes | Path], sources: Any) -> str:
    """Hash the sizes and modification times of image files.

    Args:
        rows: rows whose images are separate files.
        encoded: row -> its file; may raise ImageError.
        sources: identities of the files that contain the rows and the other images.
    """
    digest = hashlib.sha256(repr(sources).encode())
    for row in rows:
        try:
            status = os.stat(encoded(row))
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except (ImageError, OSError):
            digest.update(b"missing\n")
    return digest.hexdigest()
