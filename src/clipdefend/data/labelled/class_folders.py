"""Labelled images with one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipdefend.data.bad import MAX_EXAMPLES
from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.folders import is_image, list_names, some_names, walk
from clipdefend.data.labelled.file_images import FileImages, path_array
from clipdefend.data.labelled.folder_classes import check_not_splits, match_folders
from clipdefend.data.paths import ImageFolders
from clipdefend.errors import DataError

IMAGES = "images"
"""Folder between a class and its images in TinyImageNet."""
_COMPANIONS = frozenset(
    [
        "txt",
        "csv",
        "tsv",
        "json",
        "jsonl",
        "xml",
        "md",
        "html",
        "yaml",
        "yml",
        "py",
        "mat",
        "npy",
        "npz",
        "pkl",
        "log",
        "lst",
        "index",
        "pdf",
        "parquet",
        "zip",
        "tar",
        "gz",
    ]
)
"""Endings of files that accompany images, such as annotations; they do not count as skipped."""


def open_class_folders(folder: Path, given: ClassFile | None, root: Path | None) -> FileImages:
    """Open images at CLASS/IMAGE or CLASS/images/IMAGE; see ``match_folders`` for the names of the folders.

    Files elsewhere and unreadable images count as skipped; files that usually accompany images, such as
    annotations, do not.

    Args:
        folder: parent of the class folders.
        given: the user's class names, or None.
        root: folder that links may point into, besides ``folder``.

    Raises:
        DataError: there is no image, or the class of a folder is ambiguous.
    """
    names = list_names(folder)
    inside = [name for name in names if not is_image(name) and (folder / name).is_dir()]
    check_not_splits(folder, inside)
    skipped = [f"{name}: lies outside of the folders of the classes" for name in names if is_image(name)]
    links = ImageFolders.of(folder, root, "--eval-root")
    per_class = [_images(folder, name, links, skipped) for name in inside]
    if not any(per_class):
        raise DataError(
            f"Folder {str(folder)!r} has no subfolder with images: it needs one subfolder per class"
            f" (CLASS/IMAGE.jpg), labels.csv, or nshards.txt. It contains: {some_names(names)}."
        )
    matched = match_folders(folder, inside, given)
    reading = f"; {given.reading}" if given is not None and given.reading else ""
    return FileImages(
        classes=matched.known.classes or [],
        templates=matched.known.templates if given is None else None,
        spec=str(folder),
        recognised=f"a folder per class in {folder.name}, {matched.reading}{reading}",
        labels=np.repeat(np.array(matched.order, np.int64), [len(files) for files in per_class]),
        skipped=len(skipped),
        skip_reasons=skipped[:MAX_EXAMPLES],
        paths=path_array([path for files in per_class for path in files]),
        folders=links,
    )


def _images(folder: Path, name: str, links: ImageFolders, skipped: list[str]) -> list[str]:
    """List the images of a class, relative to the parent folder; all other files are added to ``skipped``."""
    found: list[str] = []
    for place, files in walk(folder / name, links):
        inner = place.relative_to(folder).as_posix()
        direct = inner in (name, f"{name}/{IMAGES}")
        for file in files:
            if is_image(file):
                if direct:
                    found.append(f"{inner}/{file}")
                else:
                    skipped.append(f"{inner}/{file}: lies deeper than CLASS/IMAGE")
            elif file.rpartition(".")[2].lower() not in _COMPANIONS and not (place / file).is_dir():
                skipped.append(f"{inner}/{file}: is not an image in a format that is read")
    return found
