"""Labelled images that are files: a folder per class, or CleanCLIP's ``labels.csv``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipdefend.data.bad import MAX_EXAMPLES
from clipdefend.data.class_names.python_source import ClassFile
from clipdefend.data.classes import (
    imagenet_classes,
    imagenet_templates,
    load_classes,
    plain_name,
    same_number,
)
from clipdefend.data.decode import ImageError, decode_image
from clipdefend.data.folders import is_image, list_names, some_names
from clipdefend.data.labelled.labelled_images import LabelledImages, file_stamp
from clipdefend.data.paths import ImageFolders
from clipdefend.data.tables.csv_table import csv_rows, read_header
from clipdefend.data.tables.text_columns import IMAGE_COLUMNS, LABEL_COLUMNS, choose_column, usable_paths
from clipdefend.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

CLASS_FILES = ("classes.py", "classes.json", "classnames.json", "classes.txt", "classnames.txt")
_WNID = re.compile(r"^n\d{8}$")


@dataclass(kw_only=True)
class FileImages(LabelledImages):
    """Images that are files of their own.

    Args:
        paths: string array, relative to the folder of ``folders``.
        folders: where the paths may point into.
        listed: whether the paths were read from the disk itself, so that links in them are the user's own.
    """

    paths: pa.Array = field(repr=False)
    folders: ImageFolders
    listed: bool

    def _decode(self, row: int) -> Image.Image:
        return decode_image(self._path(row))

    def _path(self, row: int) -> Path:
        ref = self.image_ref(row)
        return Path(self.folders.folder, ref) if self.listed else Path(self.folders.locate(ref))

    def _stamp(self, row: int) -> str:
        try:
            return file_stamp(self._path(row))
        except ImageError as error:
            return str(error)

    def image_ref(self, row: int) -> str:
        return str(self.paths[row].as_py())


def open_class_folders(folder: Path, given: Sequence[str] | None) -> FileImages:
    """CLASS/IMAGE. Folder names are class names with ``_`` for blanks, or ImageNet's 1,000 WordNet ids."""
    inside = [
        name for name in list_names(folder) if not name.startswith((".", "__")) and (folder / name).is_dir()
    ]
    per_class = [[name for name in list_names(folder / entry) if is_image(name)] for entry in inside]
    if not any(per_class):
        raise DataError(
            f"Folder {str(folder)!r} has no subfolder with images: it needs one subfolder per class"
            f" (CLASS/IMAGE.jpg), labels.csv, or nshards.txt. In it are: {some_names(list_names(folder))}."
        )
    known, order = _folder_classes(folder, inside, given)
    paths = [f"{entry}/{name}" for entry, files in zip(inside, per_class, strict=True) for name in files]
    return FileImages(
        classes=known.classes or [],
        templates=known.templates,
        spec=str(folder),
        recognised=f"a folder per class in {folder.name}",
        labels=np.repeat(np.array(order, np.int64), [len(files) for files in per_class]),
        paths=pa.array([path.encode(errors="replace").decode() for path in paths], pa.string()),
        folders=ImageFolders.of(folder),
        listed=True,
    )


def _folder_classes(
    folder: Path, inside: Sequence[str], given: Sequence[str] | None
) -> tuple[ClassFile, list[int]]:
    """Class names, and for each folder its class."""
    if given is not None:
        plain = [plain_name(name) for name in given]
        wanted = [plain_name(name) for name in inside]
        if len(set(plain)) == len(plain) and set(wanted) <= set(plain):
            return ClassFile(list(given), None), [plain.index(name) for name in wanted]
        return ClassFile(same_number(given, inside, str(folder)), None), list(range(len(inside)))
    if all(_WNID.match(name) for name in inside):
        if len(inside) != 1000:
            raise DataError(
                f"Folder {str(folder)!r} has {len(inside)} folders named by WordNet ids, not ImageNet's"
                " 1,000: pass --class-names FILE with a name for each, in the order of the sorted folders."
            )
        return ClassFile(imagenet_classes(), imagenet_templates()), list(range(1000))
    return ClassFile([name.replace("_", " ") for name in inside], None), list(range(len(inside)))


def open_table(path: Path, given: Sequence[str] | None) -> FileImages:
    """``labels.csv`` with columns image and label (an index into the class names), paths relative to its
    folder.
    """
    known = ClassFile(list(given), None) if given is not None else _classes_beside(path)
    header = read_header(path, None, ((None, IMAGE_COLUMNS), (None, LABEL_COLUMNS)))
    where = f"Table {str(path)!r}"
    columns = (
        choose_column(header.names, None, IMAGE_COLUMNS, "the column name image", where),
        choose_column(header.names, None, LABEL_COLUMNS, "the column name label", where),
    )
    skipped: list[str] = []
    paths: list[pa.Array] = []
    labels: list[NDArray[np.int64]] = []
    for refs, numbers in csv_rows(path, header, columns, lambda at, why: skipped.append(f"{at}: {why}")):
        paths.append(usable_paths(refs))
        labels.append(_integers(numbers, path, sum(map(len, labels))))
    return FileImages(
        classes=known.classes or [],
        templates=known.templates,
        spec=str(path),
        recognised=f"{path.name} in {path.parent.name}",
        labels=np.concatenate(labels) if labels else np.empty(0, np.int64),
        skipped=len(skipped),
        skip_reasons=skipped[:MAX_EXAMPLES],
        paths=pa.chunked_array(paths, pa.string()).combine_chunks(),
        folders=ImageFolders.of(path.parent),
        listed=False,
    )


def _classes_beside(path: Path) -> ClassFile:
    for name in CLASS_FILES:
        if (path.parent / name).is_file():
            return load_classes(path.parent / name)
    raise DataError(
        f"Table {str(path)!r} has labels but no class names: put {', '.join(CLASS_FILES[:-1])} or"
        f" {CLASS_FILES[-1]} beside it, or pass --class-names FILE."
    )


def _integers(column: pa.Array, path: Path, first: int) -> NDArray[np.int64]:
    """Labels of some rows. Raises DataError that names the first row without an integer."""
    text = pc.utf8_trim_whitespace(usable_paths(column))
    good = pc.match_substring_regex(text, r"^-?\d{1,9}$").to_numpy(zero_copy_only=False)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"Table {str(path)!r}, row {first + row}: label {text[row].as_py()[:40]!r} is not an integer."
        )
    numbers: NDArray[np.int64] = text.cast(pa.int64()).to_numpy()
    return numbers
