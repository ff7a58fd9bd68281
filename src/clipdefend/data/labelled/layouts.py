"""Which of the layouts on disk a folder of labelled images has."""

from __future__ import annotations

from collections.abc import Sequence

from clipdefend.data.folders import list_names, some_names
from clipdefend.data.labelled.class_folders import open_class_folders, open_table
from clipdefend.data.labelled.class_shards import open_shards
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.paths import expand
from clipdefend.errors import DataError


def open_files(spec: str, names: Sequence[str] | None, split: str | None) -> LabelledImages:
    """Open one of the three layouts.

    Args:
        spec: folder, or a ``labels.csv``.
        names: the user's class names, or None.
        split: subfolder where the layout has splits.

    Raises:
        DataError: nothing there, or no layout recognised.
    """
    _, found = expand(spec)
    if len(found) != 1:
        raise DataError(f"Labelled images {spec!r} name {len(found)} places: give one folder.")
    place = found[0]
    if not place.is_dir():
        if place.suffix.lower() not in (".csv", ".tsv") or not place.is_file():
            raise DataError(
                f"Labelled images {spec!r} are not a folder: give a folder with a subfolder per class, with"
                " labels.csv or with CLIP_benchmark's shards, 'torchvision:NAME' or 'builtin'."
            )
        return open_table(place, names)
    for folder in ([place / split] if split is not None else []) + [place]:
        if (folder / "labels.csv").is_file():
            return open_table(folder / "labels.csv", names)
    for folder in (place / (split or "test"), place):
        if (folder / "nshards.txt").is_file():
            return open_shards(folder, names)
    if split is not None and not (place / split).is_dir():
        raise DataError(
            f"Labelled images {spec!r} have no split {split!r}."
            f" In the folder are: {some_names(list_names(place))}."
        )
    return open_class_folders(place / split if split is not None else place, names)
