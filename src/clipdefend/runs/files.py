"""Writes files atomically, and lists the contents of folders."""

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
    """Open a file for writing that appears under its name, complete, when the context exits normally.

    It is written under a temporary name, flushed to the disk and renamed into place. If the context ends early, even
    by an interruption, the temporary file is removed and an older file of that name is untouched.
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
    """Write a file atomically; see ``atomic_file``."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_safetensors(path: Path, serialised: bytes) -> None:
    """Write serialised safetensors atomically, with the metadata's keys in sorted order.

    The library keeps metadata in a hash map, so the order of keys varies, and equal models would have different
    digests. The length of the header does not change, only the order of its keys.
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
    """Remove temporary files that killed processes left in a folder and its subfolders."""
    for file in folder.rglob(f".*{TEMPORARY}"):
        if file.is_file() or file.is_symlink():
            file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, if the system supports it."""
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
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_outputs(folder: Path, skip: Iterable[str]) -> list[dict[str, Any]]:
    """List the contents of a run folder: path, bytes and sha256 of each file.

    A subfolder of more than 20 files is one entry, with their number, their bytes and a digest of the sorted lines
    ``NAME NUL SHA256 LF``.
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
