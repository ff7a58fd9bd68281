"""Matches folders of images to classes, from their names alone and never by guessing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipdefend.data.class_names.class_file import ClassFile
from clipdefend.data.class_names.imagenet import (
    imagenet_classes,
    imagenet_index,
    imagenet_templates,
    is_wnid,
)
from clipdefend.data.classes import plain_name, same_number
from clipdefend.data.folders import some_names
from clipdefend.errors import DataError

SPLITS = frozenset(["train", "training", "val", "valid", "validation", "test", "testing", "images", "imgs"])
"""Folder names that are taken for splits, not classes, if there are no other folders."""
_NUMBER = re.compile(r"(.*?)(\d{1,7})")
_NUMBERED_NAME = re.compile(r"(?:n\d{8}|\d+)[-._ ]+(.*[^\W\d_].*)")
_MAPPING = "a JSON object of folder: name"


@dataclass(frozen=True)
class FolderClasses:
    """The classes of a set's folders.

    Args:
        known: class names and templates.
        order: the class of each folder.
        reading: how the names were interpreted, for people.
    """

    known: ClassFile
    order: list[int]
    reading: str


def match_folders(folder: Path, inside: Sequence[str], given: ClassFile | None) -> FolderClasses:
    """Find the class of each folder.

    Args:
        folder: the parent folder, for messages.
        inside: names of the folders.
        given: the user's class names; None derives them from the folders.

    Raises:
        DataError: the class of a folder or the name of a class is ambiguous.
    """
    return _own_classes(folder, inside) if given is None else _given_classes(folder, inside, given)


def check_not_splits(folder: Path, inside: Sequence[str]) -> None:
    """Raise DataError if the subfolders are splits, such as train and val."""
    if inside and all(name.lower() in SPLITS for name in inside):
        raise DataError(
            f"Folder {str(folder)!r} holds {some_names(inside)}, which are not classes: name a split with"
            " --eval-split, or give the folder that has a subfolder per class."
        )


def _given_classes(folder: Path, inside: Sequence[str], given: ClassFile) -> FolderClasses:
    names = given.classes or []
    if given.keys is not None and set(inside) <= set(given.keys):
        places = {key: place for place, key in enumerate(given.keys)}
        return FolderClasses(
            given, [places[name] for name in inside], "folders by the ids of the class names"
        )
    plain, wanted = [plain_name(name) for name in names], [plain_name(name) for name in inside]
    if len(set(plain)) == len(plain) and set(wanted) <= set(plain):
        return FolderClasses(given, [plain.index(name) for name in wanted], "folders by name")
    if (order := _by_number(folder, inside, len(names))) is not None:
        return FolderClasses(given, order, "folders by the number in their names")
    index = imagenet_index()
    if all(map(is_wnid, inside)):
        if len(names) == len(index) and set(inside) <= index.keys():
            return FolderClasses(given, [index[name] for name in inside], "folders by WordNet id")
        same_number(names, inside, str(folder))
        return FolderClasses(given, list(range(len(inside))), "folders in the order of their WordNet ids")
    same_number(names, inside, str(folder))
    odd = next(name for name, text in zip(inside, wanted, strict=True) if text not in plain)
    raise DataError(
        f"Folder {str(folder)!r}: folder {odd!r} is not among the class names, and nothing else tells which class it"
        f" is. Name the folders as the classes, number them from 0, or give {_MAPPING} with --class-names."
    )


def _by_number(folder: Path, inside: Sequence[str], classes: int) -> list[int] | None:
    """Return the class of each folder by the number at its end; None if the folders are not numbered.

    With a folder 0 the numbers count from 0; without one they count from 1, but only if all classes are present.
    """
    matches = [_NUMBER.fullmatch(name) for name in inside]
    numbers = [int(match[2]) for match in matches if match]
    if len({match and match[1] for match in matches}) > 1 or len(set(numbers)) < len(inside):
        return None
    if 0 in numbers and max(numbers) < classes:
        return numbers
    if sorted(numbers) == list(range(1, classes + 1)):
        return [number - 1 for number in numbers]
    raise DataError(
        f"Folder {str(folder)!r} has {len(inside)} numbered folders from {min(numbers)} to {max(numbers)}, and"
        f" {classes} class names were given: the numbers must be indices below {classes} with 0 among them, or run from"
        f" 1 to {classes}."
    )


def _own_classes(folder: Path, inside: Sequence[str]) -> FolderClasses:
    everything = list(range(len(inside)))
    if any(map(is_wnid, inside)):
        return _wordnet_classes(folder, inside)
    if all(name.isascii() and name.isdigit() for name in inside):
        if sorted(map(int, inside)) != list(range(1000)):
            raise DataError(
                f"Folder {str(folder)!r} has folders that are named by numbers ({some_names(inside)}), which tell an"
                " index and no class: pass --class-names FILE with the names in the order of their indices."
            )
        known = ClassFile(imagenet_classes(), imagenet_templates())
        return FolderClasses(
            known, [int(name) for name in inside], "folders 0 to 999 by index, as in ImageNetV2"
        )
    matches = [_NUMBERED_NAME.fullmatch(name) for name in inside]
    if all(matches):
        names = [match[1].replace("_", " ") for match in matches if match]
        reading = f"names behind the ids of the folders, such as {names[0]!r} of {inside[0]!r}"
        return FolderClasses(ClassFile(names), everything, reading)
    return FolderClasses(
        ClassFile([name.replace("_", " ") for name in inside]), everything, "names of the folders"
    )


def _wordnet_classes(folder: Path, inside: Sequence[str]) -> FolderClasses:
    """Return ImageNet's names of the classes that have a folder, in the order of their WordNet ids."""
    index = imagenet_index()
    odd = [name for name in inside if name not in index]
    if odd:
        raise DataError(
            f"Folder {str(folder)!r} has folders named by WordNet ids, and {odd[0]!r} is not one of ImageNet's 1,000:"
            f" pass --class-names FILE with {_MAPPING}, or with a line such as 'n01440764 tench' for each."
        )
    names = imagenet_classes()
    known = ClassFile([names[index[name]] for name in inside], imagenet_templates())
    return FolderClasses(known, list(range(len(inside))), "ImageNet's names by WordNet id")
