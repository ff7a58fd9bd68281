"""Labelled images in one flat folder, with a separate list of their classes.

Supported are TinyImageNet's ``val_annotations.txt`` and, for ImageNet, Kaggle's ``LOC_val_solution.csv``, Caffe's
``val.txt`` and TensorFlow's ``imagenet_2012_validation_synset_labels.txt``: they name a WordNet id, or an index into
the sorted ids.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from clipdefend.data.bad import MAX_EXAMPLES
from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.class_names.imagenet import (
    imagenet_classes,
    imagenet_index,
    imagenet_templates,
    is_wnid,
)
from clipdefend.data.folders import is_image, list_names, read_text
from clipdefend.data.labelled.file_images import FileImages, path_array
from clipdefend.data.paths import ImageFolders
from clipdefend.errors import DataError

TINY_LIST = "val_annotations.txt"
KAGGLE_LIST = "LOC_val_solution.csv"
ID_LISTS = (TINY_LIST, KAGGLE_LIST, "val.txt", "imagenet_2012_validation_synset_labels.txt")
"""Lists that are recognised by their file names."""
DEVKIT_LIST = "ILSVRC2012_validation_ground_truth.txt"
_MAX_BYTES = 64 * 2**20
_ILSVRC = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+", re.IGNORECASE)
_ROW = re.compile(r"([^\s,]+)[\s,]+([^\s,]+)")


def open_annotated(
    folder: Path, answers: Path, given: ClassFile | None, root: Path | None, words: Path | None = None
) -> FileImages:
    """Open the images of a folder whose classes are given in a list.

    Images without a line and lines without an image are skipped and counted.

    Args:
        folder: folder of the images.
        answers: the list.
        given: class names with WordNet ids, or 1,000 names in ImageNet's order; None means ImageNet's names.
        root: folder that links may point into, besides that of ``answers``.
        words: TinyImageNet's names of WordNet ids, for ids that ImageNet does not have.

    Raises:
        DataError: the list cannot be read, or a class has no name.
    """
    images = [name for name in list_names(folder) if is_image(name)]
    labels = _labels(answers, images)
    base = answers.parent if folder.is_relative_to(answers.parent) else folder
    plain = {name.rpartition(".")[0]: name for name in images}  # Kaggle's list has no endings
    found = {
        name: label for image, label in labels.items() if (name := plain.get(image, image)) in set(images)
    }
    skipped = [f"{name}: is not in {answers.name}" for name in images if name not in found]
    skipped += [
        f"{image}: is not in {folder.name}" for image in labels if plain.get(image, image) not in found
    ]
    known = _names(sorted(set(found.values())), given, words, answers)
    places = {key: place for place, key in enumerate(known.keys or [])}
    inner = folder.relative_to(base)
    return FileImages(
        classes=known.classes or [],
        templates=known.templates,
        spec=str(folder),
        recognised=f"images in {folder.name} by {answers.name}, {known.reading}",
        labels=np.array([places[label] for label in found.values()], np.int64),
        skipped=len(skipped),
        skip_reasons=skipped[:MAX_EXAMPLES],
        paths=path_array([(inner / name).as_posix() for name in found]),
        folders=ImageFolders.of(base, root, "--eval-root"),
    )


def _labels(answers: Path, images: list[str]) -> dict[str, str]:
    """Return image -> WordNet id, in the list's order."""
    lines = [line for line in read_text(answers, _MAX_BYTES).splitlines() if line.strip()]
    if lines and lines[0].startswith("ImageId"):
        del lines[0]
    if all(map(is_wnid, map(str.strip, lines))):  # one a line, in the order of the numbers in the names
        numbers = {int(match[1]): name for name in images if (match := _ILSVRC.fullmatch(name))}
        if len(lines) != 50_000:
            raise DataError(
                f"List {str(answers)!r} has {len(lines):,} lines: ImageNet's has one for each of 50,000 images."
            )
        return {numbers.get(number, f"image {number}"): line.strip() for number, line in enumerate(lines, 1)}
    ids = list(imagenet_index())
    labels: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _ROW.match(line)
        label = match[2] if match else ""
        if label.isascii() and label.isdigit() and int(label) < len(ids):
            label = ids[int(label)]
        if match is None or not is_wnid(label) or match[1] in labels:
            raise DataError(
                f"List {str(answers)!r}, line {number}: {line[:60]!r} is not the name of an image, once, and its"
                " WordNet id or an index from 0 to 999."
            )
        labels[match[1]] = label
    return labels


def _names(ids: list[str], given: ClassFile | None, words: Path | None, answers: Path) -> ClassFile:
    """Return the classes, with their WordNet ids as keys."""
    index = imagenet_index()
    if given is not None:
        keys = list(given.keys or (index if len(given.classes or []) == len(index) else ()))
        if not set(ids) <= set(keys):
            raise DataError(
                f"List {str(answers)!r} contains WordNet ids: give class names with lines such as 'n01440764 tench', or"
                f" {len(index):,} names in ImageNet's order."
            )
        return ClassFile(given.classes, given.templates, given.reading, keys)
    extra = {} if words is None else read_words(words)
    names = imagenet_classes()
    if set(ids) <= index.keys() and words is None:
        return ClassFile(names, imagenet_templates(), "ImageNet's names by WordNet id", list(index))
    return name_ids(ids, extra, answers)


def name_ids(ids: list[str], words: dict[str, str], where: Path) -> ClassFile:
    """Name WordNet ids: ImageNet's name, else the first of the words that the set itself gives.

    Raises:
        DataError: an id has no name.
    """
    index, names = imagenet_index(), imagenet_classes()
    if unknown := [key for key in ids if key not in index and key not in words]:
        raise DataError(
            f"{str(where)!r} has the WordNet id {unknown[0]}, which has no name here: pass --class-names FILE."
        )
    own = sum(key not in index for key in ids)
    reading = "ImageNet's names by WordNet id" + (f", {own} of them from words.txt" if own else "")
    found = [names[index[key]] if key in index else words[key].split(",")[0].strip() for key in ids]
    return ClassFile(found, imagenet_templates(), reading, ids)


def read_words(path: Path) -> dict[str, str]:
    """Read ``words.txt``, with a WordNet id, a tab and its synonyms on each line, as id -> synonyms."""
    lines = (line.partition("\t") for line in read_text(path, _MAX_BYTES).splitlines())
    return {key: text for key, _, text in lines if is_wnid(key) and text.strip()}
