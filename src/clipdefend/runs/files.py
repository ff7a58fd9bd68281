"""Writing files whole or not at all, and saying what a folder holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

LISTED_FILES = 20
TEMPORARY = ".tmp"
"""Ending of files that are still being written; their names begin with a dot."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the context is left, whole, or not at all.

    It is written under a temporary name, flushed to the disk and renamed into place. Whatever ends the context
    early, an interruption too, removes the temporary file and leaves an older file of that name as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all; see ``atomic_file``."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_safetensors(path: Path, serialised: bytes) -> None:
    """Write what ``safetensors`` serialised, atomically, with the metadata's keys in sorted order.

    The library keeps metadata in a hash map, so that two keys come out in either order and equal models would
    differ in their digests. The header keeps its length: only the order of its keys changes.
    """
    start = 8  # the header's length comes first, as a little-endian 64-bit number
    end = start + int.from_bytes(serialised[:start], "little")
    header = json.loads(serialised[start:end])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    with atomic_file(path) as file:
        file.write(serialised[:start])
        file.write(text.ljust(end - start))
        file.write(memoryview(serialised)[end:])


def sweep(folder: Path) -> None:
    """Remove temporary files that killed processes left behind, here and in all sub-folders."""
    for file in folder.rglob(f".*{TEMPORARY}"):
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
