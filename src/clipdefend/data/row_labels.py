"""Reads a label for each row of some pairs from a CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipdefend.data.pairs import Pairs
from clipdefend.data.tables.csv_table import csv_rows, read_header
from clipdefend.data.tables.text_columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    choose_column,
    find_column,
    usable_paths,
)
from clipdefend.errors import DataError

ID_COLUMNS = ("id",)
_CHUNK = 65_536


def read_row_labels(path: Path, pairs: Pairs) -> tuple[NDArray[np.int64], list[str]]:
    """Read the labels of all rows.

    Args:
        path: CSV with the columns ``id`` (row number, from 0) or ``image`` (as the pairs name it), and ``label``. Rows
            that are not among the pairs are ignored.
        pairs: the pairs to label.

    Returns:
        For each row the index of its label, shape (rows,); and the labels, ascending.

    Raises:
        DataError: a column is missing, a row is unreadable, or a row has no label or two different ones.
    """
    by_id, labels = _read(path)
    found: list[str | None] = []
    for start in range(0, len(pairs), _CHUNK):
        stop = min(start + _CHUNK, len(pairs))
        keys = map(str, range(start, stop)) if by_id else pairs.image_refs(start, stop)
        found += [labels.get(key) for key in keys]
    missing = [row for row, label in enumerate(found) if label is None]
    if missing:
        raise DataError(
            f"Table {str(path)!r} has no label for {len(missing):,} of {len(pairs):,} pairs, such as row {missing[0]},"
            f" image {pairs.image_ref(missing[0])[:80]!r}: each pair needs one, by id or by image."
        )
    names, numbers = np.unique(np.array(found, dtype=np.str_), return_inverse=True)
    return numbers.astype(np.int64), names.tolist()


def _read(path: Path) -> tuple[bool, dict[str, str]]:
    """Return whether the table has ids, and a mapping id or image -> label."""
    header = read_header(path, None, ((None, (*ID_COLUMNS, *IMAGE_COLUMNS)), (None, LABEL_COLUMNS)))
    where = f"Table {str(path)!r}"
    key = find_column(header.names, None, ID_COLUMNS)
    by_id = key is not None
    if key is None:
        key = choose_column(header.names, None, IMAGE_COLUMNS, "the column name image or id", where)
    label = choose_column(header.names, None, LABEL_COLUMNS, "the column name label", where)

    def refuse(place: str, reason: str) -> None:
        raise DataError(f"Table {str(path)!r}: {place} {reason}.")

    found: dict[str, str] = {}
    for keys, values in csv_rows(path, header, (key, label), refuse):
        for name, text in zip(usable_paths(keys).to_pylist(), usable_paths(values).to_pylist(), strict=True):
            value = text.strip()
            if not value:
                raise DataError(f"Table {str(path)!r} has an empty label, of {name[:80]!r}.")
            if found.setdefault(name, value) != value:
                raise DataError(
                    f"Table {str(path)!r} gives {name[:80]!r} two labels: {found[name]!r} and {value!r}."
                )
    return by_id, found
