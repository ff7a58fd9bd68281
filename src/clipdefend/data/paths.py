"""Expands descriptions of data sources, and confines image paths to the folders they may point into."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipdefend.data.decode import ImageError
from clipdefend.data.visibility import is_visible
from clipdefend.errors import DataError

MAX_FILES = 1_000_000
MAX_PATH_BYTES = 4096

_REMOTE = re.compile(r"^(?:[a-z][a-z0-9+.-]+://|(?:https?|ftp|s3|gs|hf|pipe|file|az|abfs):)", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")


def expand(spec: str) -> tuple[str, list[Path]]:
    """List the files that a source description names, in order.

    A description is a path with optional brace ranges and lists (``{00000..00049}``, ``{a,b}``), wildcards
    ``* ? [ ]`` (sorted by name) and ``~``, or several of these joined by ``::``.

    Returns:
        The description with absolute paths, and the absolute paths of the files. Symbolic links are not
        resolved.

    Raises:
        DataError: the description is empty or remote, a file does not exist, or there are more than MAX_FILES.
    """
    normal: list[str] = []
    files: list[Path] = []
    for part in spec.split("::"):
        if not part.strip():
            raise DataError(
                f"Data source {spec!r} is empty or has an empty part: give a file, a folder or 'builtin'."
            )
        if _REMOTE.match(part):
            raise DataError(
                f"Remote source {part!r} cannot be read: copy it to a local disk and give its path there;"
                " only tar shards of pairs are read from https:, http: and s3: addresses."
            )
        absolute = os.path.abspath(os.path.expanduser(part))
        normal.append(absolute)
        files.extend(_files_of(absolute, part))
        if len(files) > MAX_FILES:
            raise DataError(
                f"Data source {spec!r} names more than {MAX_FILES:,} files: use fewer, larger files."
            )
    return "::".join(normal), files


def _files_of(pattern: str, given: str) -> list[Path]:
    """List the existing files of one part. A name that exists literally is not taken for a pattern."""
    if os.path.exists(pattern):
        return [Path(pattern)]
    names = list(itertools.islice(braces(pattern), MAX_FILES + 1))
    files: list[str] = []
    for name in names:
        files.extend(_matches(name) if glob.has_magic(name) else [name])
    missing = [name for name in files if not os.path.exists(name)]
    if missing and len(missing) == len(files) == 1:
        raise DataError(f"Data source {given!r} does not exist (looked for {missing[0]}).")
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(files):,} files of {given!r} do not exist, first {missing[0]}."
        )
    if not files:
        raise DataError(f"Data source {given!r} matches no file (looked for {pattern}).")
    return [Path(name) for name in files]


def _matches(pattern: str) -> list[str]:
    """List the visible files that match a pattern, sorted."""
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return [name for name in sorted(glob.glob(pattern)) if all(map(is_visible, Path(name).parts[fixed:]))]


def braces(text: str) -> Iterator[str]:
    """Expand ``{a,b}`` and ``{000..123}`` from left to right; other braces are left alone."""
    for match in _BRACES.finditer(text):
        span = _RANGE.match(match[1])
        if span:
            low, high = span.groups()
            width = max(len(low), len(high)) if "0" in (low[0], high[0]) else 0
            options: Iterator[str] = (str(number).zfill(width) for number in range(int(low), int(high) + 1))
        elif "," in match[1]:
            options = iter(match[1].split(","))
        else:
            continue
        for option in options:
            for rest in braces(text[match.end() :]):
                yield text[: match.start()] + option + rest
        return
    yield text


@dataclass(frozen=True)
class ImageFolders:
    """The folders that the image paths of a table may point into.

    Args:
        folder: folder of the table.
        image_root: another folder, given by the user; relative paths are resolved here first.
        flag: the option that names it, for messages.

    Both are real paths: symbolic links are resolved before anything is compared.
    """

    folder: str
    image_root: str | None = None
    flag: str = "--image-root"

    @classmethod
    def of(cls, folder: Path, image_root: Path | None = None, flag: str = "--image-root") -> ImageFolders:
        """Resolve the folders. Raises DataError if ``image_root`` is not a folder."""
        if image_root is not None and not image_root.is_dir():
            raise DataError(
                f"{flag} {str(image_root)!r} is not a folder: give the folder that holds the images."
            )
        return cls(
            os.path.realpath(folder), None if image_root is None else os.path.realpath(image_root), flag
        )

    def allows(self, path: str) -> bool:
        """Whether a real path is one of the folders or lies inside one."""
        roots = [root for root in (self.image_root, self.folder) if root]
        return any(
            f"{path.rstrip(os.sep)}{os.sep}".startswith(root.rstrip(os.sep) + os.sep) for root in roots
        )

    def locate(self, ref: str) -> str:
        """Return the real path of an image that a table names.

        Raises:
            ImageError: the path is empty, does not exist, or leads outside both folders (by ``..``, an absolute
                path or a link).
        """
        if not ref or "\0" in ref or len(ref) > MAX_PATH_BYTES:
            raise ImageError("the row names no usable image path")
        roots = [root for root in (self.image_root, self.folder) if root]
        outside = False
        for root in roots:
            path = os.path.realpath(os.path.join(root, ref))  # an absolute ref replaces the root
            if path in roots or not self.allows(path):
                outside = True
            elif os.path.exists(path):
                return path
        if outside:
            raise ImageError(f"the path leads outside {roots[0]}; if that is meant pass {self.flag} FOLDER")
        raise ImageError(
            f"file not found under {roots[0]}; if the images lie elsewhere pass {self.flag} FOLDER"
        )
