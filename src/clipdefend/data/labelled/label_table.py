"""Labelled images in CleanCLIP's layout: ``labels.csv`` with class names beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipdefend.data.bad import MAX_EXAMPLES
from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.classes import by_index, load_classes
from clipdefend.data.labelled.file_images import FileImages
from clipdefend.data.paths import ImageFolders
from clipdefend.data.tables.csv_table import csv_rows, read_header
from clipdefend.data.tables.text_columns import IMAGE_COLUMNS, LABEL_COLUMNS, choose_column, usable_paths
from clipdefend.errors import DataError

CLASS_FILES = ("classes.py", "classes.json", "classnames.json", "classes.txt", "classnames.txt")


def open_table(path: Path, given: ClassFile | None, root: Path | None) -> FileImages:
    """Open ``labels.csv``, with columns image (a path relative to its folder) and label (an index into the classes).

    Raises:
        DataError: the table is unreadable, a label is not an integer, or class names are missing.
    """
    known = given or _classes_beside(path)
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
        classes=by_index(known, str(path)),
        templates=known.templates,
        spec=str(path),
        recognised=f"{path.name} in {path.parent.name}" + (f", {known.reading}" if known.reading else ""),
        labels=np.concatenate(labels) if labels else np.empty(0, np.int64),
        skipped=len(skipped),
        skip_reasons=skipped[:MAX_EXAMPLES],
        paths=pa.chunked_array(paths, pa.string()).combine_chunks(),
        folders=ImageFolders.of(path.parent, root, "--eval-root"),
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
    """Parse labels. Raises DataError that names the first row whose label is not an integer."""
    text = pc.utf8_trim_whitespace(usable_paths(column))
    good = pc.match_substring_regex(text, r"^-?\d{1,9}$").to_numpy(zero_copy_only=False)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"Table {str(path)!r}, row {first + row}: label {text[row].as_py()[:40]!r} is not an integer."
        )
    numbers: NDArray[np.int64] = text.cast(pa.int64()).to_numpy()
    return numbers
