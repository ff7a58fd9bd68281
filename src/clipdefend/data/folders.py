"""What a folder holds, without the files that operating systems and editors leave there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from clipdefend.data.decode import SUFFIXES, ImageError, read_regular
from clipdefend.errors import DataError

_LEFTOVERS = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found"})
_LEFTOVER_FILES = frozenset({"thumbs.db", "desktop.ini"})


def is_visible(name: str) -> bool:
    """Whether a file or folder is part of a data set: not hidden, and not a leftover of some tool.

    Left out are names with a leading dot (``.ipynb_checkpoints``, ``.DS_Store``, macOS's ``._x.jpg``), the folders
    ``__MACOSX``, ``__pycache__``, ``@eaDir``, ``lost+found`` and ``$RECYCLE.BIN``, ``Thumbs.db`` and ``desktop.ini``.

    Args:
        name: last part of a path.
    """
    return not name.startswith(".") and name not in _LEFTOVERS and name.lower() not in _LEFTOVER_FILES


def is_visible_path(path: str) -> bool:
    """Whether every part of a relative path is visible; ``.`` and ``..`` are parts like any other path's."""
    return all(part in (".", "..") or is_visible(part) for part in PurePosixPath(path).parts)


def is_image(name: str) -> bool:
    """Whether a file name has the ending of a format that is read."""
    return name.rpartition(".")[2].lower() in SUFFIXES


def list_names(folder: Path) -> list[str]:
    """Sorted visible names in a folder. Raises DataError when it cannot be listed."""
    try:
        return sorted(filter(is_visible, os.listdir(folder)))
    except OSError as error:
        raise DataError(f"Folder {str(folder)!r} cannot be listed: {error.strerror or error}.") from error


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all visible folders below it, in sorted order, each with its visible names.

    Symbolic links to folders are followed; one that leads back to a folder on the way is passed over.

    Raises:
        DataError: a folder cannot be listed.
    """
    yield from _walk(folder, (os.path.realpath(folder),))


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, list[str]]]:
    names = list_names(folder)
    yield folder, names
    for name in names:
        inner = folder / name
        if "." in name and is_image(name):
            continue  # saves a look at each of a million files
        if inner.is_dir() and (real := os.path.realpath(inner)) not in above:
            yield from _walk(inner, (*above, real))


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
