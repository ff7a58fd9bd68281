"""Recognises the layout of labelled images on disk."""

from __future__ import annotations

from pathlib import Path

from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.folders import is_image, list_names, read_text, some_names
from clipdefend.data.labelled.annotated_images import (
    DEVKIT_LIST,
    ID_LISTS,
    KAGGLE_LIST,
    TINY_LIST,
    name_ids,
    open_annotated,
    read_words,
)
from clipdefend.data.labelled.class_folders import open_class_folders
from clipdefend.data.labelled.class_shards import open_shards
from clipdefend.data.labelled.label_table import open_table
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.paths import expand
from clipdefend.errors import DataError

WNIDS, WORDS = "wnids.txt", "words.txt"


def open_files(spec: str, names: ClassFile | None, split: str | None, root: Path | None) -> LabelledImages:
    """Open labelled images on the local disk.

    Args:
        spec: folder, or a ``labels.csv``.
        names: the user's class names, or None.
        split: subfolder, for layouts with splits.
        root: folder that links and paths may point into, besides the set's own.

    Raises:
        DataError: the folder does not exist, or its layout is not recognised.
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
        return open_table(place, names, root)
    for folder in ([place / split] if split is not None else []) + [place]:
        if (folder / "labels.csv").is_file():
            return open_table(folder / "labels.csv", names, root)
    for folder in (place / (split or "test"), place):
        if (folder / "nshards.txt").is_file():
            return open_shards(folder, names)
    if is_tiny_imagenet(place):
        return _open_tiny(place, split or "val", names, root)
    if is_tiny_imagenet(place.parent) and place.name in ("train", "val", "test"):
        return _open_tiny(place.parent, place.name, names, root)
    if (data := _ilsvrc(place)) is not None and not (split and (place / split).is_dir()):
        place, split = data, split or "val"
    if split is not None and not (place / split).is_dir():
        raise DataError(
            f"Labelled images {spec!r} have no split {split!r}."
            f" In the folder are: {some_names(list_names(place))}."
        )
    folder = place / split if split is not None else place
    return _open_flat(folder, names, root) if _is_flat(folder) else open_class_folders(folder, names, root)


def is_tiny_imagenet(folder: Path) -> bool:
    """Whether a folder is TinyImageNet; its test images have no labels."""
    return (folder / WNIDS).is_file() and (folder / WORDS).is_file()


def _open_tiny(place: Path, split: str, names: ClassFile | None, root: Path | None) -> LabelledImages:
    """Open TinyImageNet as distributed: CLASS/images/IMAGE for training, val/images/IMAGE and a list for validation."""
    folder = place / split
    if split == "test" or not folder.is_dir():
        raise DataError(
            f"TinyImageNet in {str(place)!r} has labels for its splits train and val, not for {split!r}: give"
            " --eval-split val."
        )
    if (folder / TINY_LIST).is_file() and (folder / "images").is_dir():
        images: LabelledImages = open_annotated(
            folder / "images", folder / TINY_LIST, names, root, place / WORDS
        )
    else:
        ids = sorted(read_text(place / WNIDS, 2**20).split())
        images = open_class_folders(
            folder, names or name_ids(ids, read_words(place / WORDS), place / WNIDS), root
        )
    images.recognised = f"TinyImageNet, split {split!r}: {images.recognised}"
    return images


def _ilsvrc(place: Path) -> Path | None:
    """Return the folder of ImageNet's splits in ILSVRC's tree, as Kaggle distributes it."""
    inner = [place / "ILSVRC" / "Data" / "CLS-LOC", place / "Data" / "CLS-LOC"]
    return next((folder for folder in inner if folder.is_dir()), None)


def _is_flat(folder: Path) -> bool:
    """Whether a folder directly contains images, and no subfolder that could be a class."""
    names = list_names(folder)
    inside = [name for name in names if not is_image(name) and (folder / name).is_dir()]
    return any(map(is_image, names)) and inside in ([], ["images"])


def _open_flat(folder: Path, names: ClassFile | None, root: Path | None) -> LabelledImages:
    """Open images without class folders, with a list that is recognised by its name."""
    near = [folder, *list(folder.parents)[:5]]
    for place in near:
        for name in ID_LISTS:
            if (place / name).is_file() and (place == folder or name != TINY_LIST):
                return open_annotated(folder, place / name, names, root)
    if any((place / DEVKIT_LIST).is_file() or (place / "data" / DEVKIT_LIST).is_file() for place in near):
        raise DataError(
            f"The images of {str(folder)!r} lie flat, with {DEVKIT_LIST}, whose numbers are not the usual indices: give"
            " 'torchvision:imagenet' with --eval-root, which reads the development kit, or move the images into folders"
            " by WordNet id (valprep.sh)."
        )
    raise DataError(
        f"The images of {str(folder)!r} lie flat, without their classes: move them into one folder per class, or put a"
        f" list beside them (labels.csv with columns image and label; for ImageNet {KAGGLE_LIST}, or val.txt)."
    )
