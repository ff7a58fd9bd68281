"""torchvision's data sets by name, read from disk and downloaded only on request.

Some of them contain pickles (CIFAR). torchvision compares the MD5 sum of each such file with the published one
before it opens the file, so only the published bytes are ever unpickled.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipdefend.data.class_names.imagenet import imagenet_classes, imagenet_templates
from clipdefend.data.decode import ImageError, decode_image
from clipdefend.data.labelled.labelled_images import LabelledImages, file_identity
from clipdefend.errors import DataError
from clipdefend.registry import nearest

if TYPE_CHECKING:
    from PIL import Image

_PHOTO_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
_CIFAR = [
    *(f"a {kind}photo of {article} {{}}." for article in ("a", "the") for kind in _PHOTO_KINDS),
    *(f"a photo of {article} {size} {{}}." for article in ("a", "the") for size in ("small", "big")),
]
_TEXTURES = [
    f"a photo of {article} {{}} {noun}."
    for article in ("a", "the")
    for noun in ("texture", "pattern", "thing", "object")
]


@dataclass(frozen=True)
class _Set:
    """How to build and read one of torchvision's data sets.

    Args:
        name: name of its class in torchvision.datasets.
        splits: our name of a split -> torchvision's arguments; the first split is the default.
        needs: the files that must exist under the root, for messages.
        labels: attribute with the labels, or with (path, label) pairs.
        templates: CLIP's prompts for the set.
        paths: attribute with the image files; None if the data set object returns the images.
        classes: class names, if the object has none.
    """

    name: str
    splits: Mapping[str, Mapping[str, Any]]
    needs: str
    labels: str
    templates: Sequence[str] = ()
    paths: str | None = None
    classes: Sequence[str] = ()


def _splits(*names: str, key: str = "split") -> dict[str, dict[str, Any]]:
    return {name: {key: name} for name in names}


_TRAIN_FLAG: dict[str, dict[str, Any]] = {"test": {"train": False}, "train": {"train": True}}

SETS: dict[str, _Set] = {
    "cifar10": _Set("CIFAR10", _TRAIN_FLAG, "cifar-10-batches-py/", "targets", _CIFAR),
    "cifar100": _Set("CIFAR100", _TRAIN_FLAG, "cifar-100-python/", "targets", _CIFAR),
    "stl10": _Set(
        "STL10",
        _splits("test", "train"),
        "stl10_binary/",
        "labels",
        ("a photo of a {}.", "a photo of the {}."),
    ),
    "svhn": _Set(
        "SVHN",
        _splits("test", "train"),
        "test_32x32.mat (train_32x32.mat for the split train)",
        "labels",
        ('a photo of the number: "{}".',),
        classes=tuple("0123456789"),
    ),
    "dtd": _Set("DTD", _splits("test", "train", "val"), "dtd/dtd/", "_labels", _TEXTURES, "_image_files"),
    "food101": _Set(
        "Food101",
        _splits("test", "train"),
        "food-101/",
        "_labels",
        ("a photo of {}, a type of food.",),
        "_image_files",
    ),
    "oxfordiiitpet": _Set(
        "OxfordIIITPet",
        {"test": {"split": "test"}, "train": {"split": "trainval"}},
        "oxford-iiit-pet/",
        "_labels",
        ("a photo of a {}, a type of pet.",),
        "_images",
    ),
    "renderedsst2": _Set(
        "RenderedSST2",
        _splits("test", "train", "val"),
        "rendered-sst2/",
        "_samples",
        ("a {} review of a movie.",),
        "_samples",
    ),
    "imagenet": _Set(
        "ImageNet",
        _splits("val", "train"),
        "val/ (or train/) and ILSVRC2012_devkit_t12.tar.gz",
        "targets",
        paths="samples",
    ),
}
"""Supported data sets. The templates are those of openai/CLIP, data/prompts.md."""

ALIASES = {"imagenet1k": "imagenet", "pets": "oxfordiiitpet", "sst2": "renderedsst2"}
IMAGENET_PROBE_SAMPLES = 50_000
"""Number of training images of an ImageNet probe, as in CleanCLIP."""


@dataclass(kw_only=True)
class TorchvisionImages(LabelledImages):
    """Images of one of torchvision's data sets.

    Attributes:
        source: torchvision's data set object; None if the images are read from ``files``.
        files: image files, or (file, label) pairs; None if ``source`` returns the images.
    """

    source: Any = field(repr=False)
    files: Sequence[Any] | None = field(repr=False)

    def _decode(self, row: int) -> Image.Image:
        if self.files is not None:
            return decode_image(_path(self.files[row]))
        try:
            image: Image.Image = self.source[row][0]
        except (OSError, ValueError, IndexError) as error:
            raise ImageError(str(error)) from error
        return image.convert("RGB")

    def _image_identity(self, row: int) -> str:
        if self.files is not None:
            return file_identity(_path(self.files[row]))
        return hashlib.sha256(np.ascontiguousarray(self.source.data[row]).data).hexdigest()

    def image_ref(self, row: int) -> str:
        return str(row) if self.files is None else "/".join(_path(self.files[row]).parts[-2:])


def key_of(name: str) -> str:
    """Return the key in ``SETS`` of a name, with or without ``torchvision:``, in any case and with any hyphens.

    Raises:
        DataError: the data set is unknown.
    """
    name = name.removeprefix("torchvision:")
    key = name.lower().replace("-", "").replace("_", "")
    key = ALIASES.get(key, key)
    if key not in SETS:
        raise DataError(
            f"Unknown data set 'torchvision:{name}'.{nearest(key, list(SETS))} Known: {', '.join(SETS)}."
        )
    return key


def qualify_set_name(spec: str) -> str:
    """Turn the bare name of a set into ``torchvision:NAME``, unless there is a file or folder of that name."""
    key = spec.lower().replace("-", "").replace("_", "")
    known = ALIASES.get(key, key) in SETS and not Path(spec).exists()
    return f"torchvision:{ALIASES.get(key, key)}" if known else spec


def probe_splits(name: str) -> dict[str, str | None]:
    """Return the names of a set's ``train``, ``validation`` (None if it has none) and ``test`` splits."""
    splits = SETS[key_of(name)].splits
    test = next(iter(splits))
    return {
        "train": "train",
        "validation": "val" if test != "val" and "val" in splits else None,
        "test": test,
    }


def open_torchvision(
    name: str, root: Path | None, split: str | None, *, download: bool = False
) -> TorchvisionImages:
    """Open a data set in torchvision's layout.

    Args:
        name: name of the set.
        root: folder that contains the set.
        split: name of the split; None means the test split.
        download: let torchvision download missing files; not possible for ImageNet.

    Raises:
        DataError: the name or split is unknown, the root is missing, or files are missing or damaged.
    """
    key = key_of(name)
    entry = SETS[key]
    split = split or next(iter(entry.splits))
    if split not in entry.splits:
        raise DataError(f"torchvision:{key} has no split {split!r}; it has {', '.join(entry.splits)}.")
    if root is None:
        raise DataError(
            f"torchvision:{key} needs --eval-root FOLDER, the folder that contains {entry.needs}."
        )
    if download and key != "imagenet":
        root.mkdir(parents=True, exist_ok=True)
    if not root.is_dir():
        raise DataError(
            f"--eval-root {str(root)!r} is not a folder: give the folder that contains {entry.needs}."
        )
    source = _build(key, root, split, download)
    imagenet = key == "imagenet"
    return TorchvisionImages(
        classes=imagenet_classes() if imagenet else _classes(entry, source),
        templates=imagenet_templates() if imagenet else list(entry.templates),
        spec=f"torchvision:{key}",
        recognised=f"torchvision {entry.name}, split {split!r}",
        labels=_labels(getattr(source, entry.labels)),
        source=source if entry.paths is None else None,
        files=None if entry.paths is None else getattr(source, entry.paths),
    )


def _build(key: str, root: Path, split: str, download: bool) -> Any:
    """Build torchvision's data set object. Raises DataError if that fails."""
    entry = SETS[key]
    fetch = {"download": True} if download and key != "imagenet" else {}
    datasets = importlib.import_module("torchvision.datasets")
    try:
        return getattr(datasets, entry.name)(str(root), **entry.splits[split], **fetch)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).replace("You can use download=True to download it", "").split())
        advice = "Downloading failed" if fetch else "Nothing is downloaded without --download"
        if key == "imagenet":
            advice = "Nothing is downloaded: ImageNet's owners do not allow it"
        raise DataError(
            f"torchvision:{key} (split {split}) cannot be read from {str(root)!r}, which must contain"
            f" {entry.needs}: {reason[:200]}. {advice}."
        ) from error
    except ModuleNotFoundError as error:
        raise DataError(
            f"torchvision:{key} needs the package {error.name!r}: pip install {error.name}."
        ) from error


def _path(item: Any) -> Path:
    """Return the file of an entry, which torchvision stores as a path or as (path, label)."""
    return Path(item[0] if isinstance(item, tuple) else item)


def _labels(values: Any) -> NDArray[np.int64]:
    return np.array([value[1] if isinstance(value, tuple) else value for value in values], np.int64)


def _classes(entry: _Set, source: Any) -> list[str]:
    names = entry.classes or source.classes
    return [str(name).replace("_", " ") for name in names]
