"""Opens labelled images of any kind from a description."""

from __future__ import annotations

from pathlib import Path

from clipdefend.data import classes
from clipdefend.data.labelled import builtin_images, layouts, torchvision_sets
from clipdefend.data.labelled.labelled_images import LabelledImages


def open_labelled(
    spec: str,
    *,
    class_names: str | Path | None = None,
    templates: str | Path | None = None,
    root: Path | None = None,
    split: str | None = None,
    download: bool = False,
) -> LabelledImages:
    """Open labelled images.

    Args:
        spec: a folder with one subfolder per class, with CleanCLIP's ``labels.csv``, or in CLIP_benchmark's
            webdataset layout; ``torchvision:NAME``; or ``builtin`` (= ``builtin:eval``).
        class_names: file of class names, or ``imagenet``, instead of the source's own.
        templates: file of templates, ``imagenet`` or ``simple``, instead of the source's own.
        root: folder in which torchvision looks for the data set; for files, one that links and paths may point into.
        split: split of a layout that has several; "test" by default ("val" for ImageNet).
        download: let torchvision download a missing data set.

    Raises:
        DataError: the source does not exist, is not recognised or has no image, or a label has no class name.
    """
    names = None if class_names is None else classes.load_classes(class_names)
    kind, _, rest = spec.partition(":")
    if kind == "builtin":
        images: LabelledImages = builtin_images.open_builtin(rest or split or builtin_images.SPLITS[0])
    elif kind == "torchvision":
        images = torchvision_sets.open_torchvision(rest, root, split, download=download)
    else:
        images = layouts.open_files(spec, names, split, root)
    if names is not None and kind in ("builtin", "torchvision"):
        images.classes = classes.same_number(classes.by_index(names, spec), images.classes, spec)
        images.recognised += f"; {names.reading}"
    if templates is not None:
        images.templates = classes.load_templates(templates)
    elif names is not None and names.templates is not None:
        images.templates = names.templates
    return images
