"""Decides which files and folders are part of a data set."""

from __future__ import annotations

from pathlib import PurePosixPath

_LEFTOVERS = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found"})
_LEFTOVER_FILES = frozenset({"thumbs.db", "desktop.ini"})


def is_visible(name: str) -> bool:
    """Whether a file or folder is part of a data set: not hidden, and not left behind by a tool.

    Left out are names with a leading dot (``.ipynb_checkpoints``, ``.DS_Store``, macOS's ``._x.jpg``), the folders
    ``__MACOSX``, ``__pycache__``, ``@eaDir``, ``lost+found`` and ``$RECYCLE.BIN``, ``Thumbs.db`` and ``desktop.ini``.

    Args:
        name: the last part of a path.
    """
    return not name.startswith(".") and name not in _LEFTOVERS and name.lower() not in _LEFTOVER_FILES


def is_visible_path(path: str) -> bool:
    """Whether every part of a relative path is visible; ``.`` and ``..`` count as visible."""
    return all(part in (".", "..") or is_visible(part) for part in PurePosixPath(path).parts)
