"""What a folder holds, without the files that operating systems and editors leave there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipdefend.data.decode import SUFFIXES, ImageError, read_regular
from clipdefend.data.paths import ImageFolders
from clipdefend.data.visibility import is_visible
from clipdefend.errors import DataError


def is_image(name: str) -> bool:
    """Whether a file name has the ending of a format that is read."""
    return name.rpartition(".")[2].lower() in SUFFIXES


def list_names(folder: Path) -> list[str]:
    """Sorted visible names in a folder. Raises DataError when it cannot be listed."""
    try:
        return sorted(filter(is_visible, os.listdir(folder)))
    except OSError as error:
        raise DataError(f"Folder {str(folder)!r} cannot be listed: {error.strerror or error}.") from error


def walk(folder: Path, inside: ImageFolders) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all visible folders below it, in sorted order, each with its visible names.

    Symbolic links to folders are followed inside of the allowed folders; one that leads back to a folder on the way
    is passed over.

    Args:
        folder: where to begin; one of the allowed folders, or below one.
        inside: the allowed folders.

    Raises:
        DataError: a folder cannot be listed, or a link leads outside.
    """
    yield from _walk(folder, _checked(folder, inside), (), inside)


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
            yield from _walk(inner, _checked(inner, inside), above, inside)


def _checked(folder: Path, inside: ImageFolders) -> str:
    """The real path of a folder. Raises DataError where it lies outside of the allowed folders."""
    real = os.path.realpath(folder)
    if not inside.allows(real):
        raise DataError(
            f"Folder {str(folder)!r} is a link that leads outside {inside.folder}, to {real}: if that is meant pass"
            f" {inside.flag} FOLDER with the folder that it leads to, else remove the link."
        )
    return real


def some_names(names: Sequence[str]) -> str:
    """The first few names, for messages."""
    return ", ".join(repr(name[:40]) for name in names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def read_text(path: Path, limit: int) -> str:
    """A small UTF-8 text file. Raises DataError when it is missing, larger than ``limit`` bytes or not UTF-8."""
    try:
        return read_regular(path, limit).decode("utf-8-sig")
    except ImageError as error:
        raise DataError(f"File {str(path)!r}: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"File {str(path)!r} is not UTF-8 text: save it as UTF-8.") from error
