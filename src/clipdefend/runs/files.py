"""Writing files whole or not at all, and saying what a folder holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LISTED_FILES = 20


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed processes had not renamed into place yet, here and in all sub-folders."""
    for file in folder.rglob(".*.tmp"):
        if file.is_file() or file.is_symlink():
            file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse it, and then it is theirs to be safe
        pass
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_outputs(folder: Path, skip: Iterable[str]) -> list[dict[str, Any]]:
    """List what a run folder holds: path, bytes and sha256 of each file.

    A sub-folder of more than 20 files is one entry, with their number and bytes and a digest over the sorted
    lines ``NAME NUL SHA256 LF``.
    """
    entries: list[dict[str, Any]] = []
    ignored = set(skip)
    for child in sorted(folder.iterdir()):
        if child.name in ignored or child.is_symlink():
            continue
        if child.is_dir():
            files = sorted(file for file in child.rglob("*") if file.is_file() and not file.is_symlink())
            if len(files) > LISTED_FILES:
                entries.append(_describe_folder(folder, child, files))
            else:
                entries.extend(_describe_file(folder, file) for file in files)
        else:
            entries.append(_describe_file(folder, child))
    return entries


def _describe_file(folder: Path, file: Path) -> dict[str, Any]:
    relative = file.relative_to(folder).as_posix()
    return {"path": relative, "bytes": file.stat().st_size, "sha256": sha256_file(file)}


def _describe_folder(folder: Path, child: Path, files: list[Path]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(child).as_posix()}\0{sha256_file(file)}\n".encode())
    return {
        "path": f"{child.relative_to(folder).as_posix()}/",
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": digest.hexdigest(),
    }
