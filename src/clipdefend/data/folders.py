"""Lists folders, without the files that operating systems and editors leave there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipdefend.data.decode import SUFFIXES, ImageError, read_regular
from clipdefend.data.paths import ImageFolders
from clipdefend.data.visibility import is_visible
from clipdefend.errors import DataError


def is_image(name: str) -> bool:
    """Whether a file name has the ending of a supported image format."""
    return name.rpartition(".")[2].lower() in SUFFIXES


def list_names(folder: Path) -> list[str]:
    """List the visible names in a folder, sorted. Raises DataError if the folder cannot be listed."""
    try:
        return sorted(filter(is_visible, os.listdir(folder)))
    except OSError as error:
        raise DataError(f"Folder {str(folder)!r} cannot be listed: {error.strerror or error}.") from error


def walk(folder: Path, inside: ImageFolders) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and all visible folders below it, in sorted order, each with its visible names.

    Symbolic links to folders are followed inside the allowed folders; links back to a parent are ignored.

    Args:
        folder: the folder to start from; one of the allowed folders, or below one.
        inside: the allowed folders.

    Raises:
        DataError: a folder cannot be listed, or a link leads outside the allowed folders.
    """
    yield from _walk(folder, _resolve(folder, inside), (), inside)


def _walk(
    folder: Path, real: str, above: tuple[str, ...], inside: ImageFolders
) -> Iterator[tuple[Path, list[str]]]:
    names = list_names(folder)
    yield folder, names
    above = (*above, real)
    for name in names:
        inner = folder / name
        if "." in name and is_image(name):
            continue  # saves a look at each of a million files
        if inner.is_dir() and os.path.realpath(inner) not in above:
            yield from _walk(inner, _resolve(inner, inside), above, inside)


def _resolve(folder: Path, inside: ImageFolders) -> str:
    """Return the real path of a folder. Raises DataError if it lies outside the allowed folders."""
    real = os.path.realpath(folder)
    if not inside.allows(real):
        raise DataError(
            f"Folder {str(folder)!r} is a link that leads outside {inside.folder}, to {real}: if that is meant pass"
            f" {inside.flag} FOLDER with the folder that it leads to, else remove the link."
        )
    return real


def some_names(names: Sequence[str]) -> str:
    """Quote the first few names, for messages."""
    return ", ".join(repr(name[:40]) for name in names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def read_text(path: Path, limit: int) -> str:
    """Read a small UTF-8 text file. Raises DataError if it is missing, larger than ``limit`` bytes or not UTF-8."""
    try:
        return read_regular(path, limit).decode("utf-8-sig")
    except ImageError as error:
        raise DataError(f"File {str(path)!r}: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"File {str(path)!r} is not UTF-8 text: save it as UTF-8.") from error
