"""The classes among which an unknown target is looked for."""

from __future__ import annotations

from clipdefend.data.classes import load_classes
from clipdefend.data.pairs import Pairs


def choose_classes(given: str | None, pairs: Pairs | None) -> list[str]:
    """Return class names.

    Args:
        given: "imagenet" or a file; None: the built-in world's for its pairs, otherwise ImageNet's.
        pairs: the clean pairs, if there are any.
    """
    if given is not None:
        return load_classes(given).classes or []
    if pairs is not None and pairs.spec.startswith("builtin"):
        from clipdefend import world

        return list(world.CLASSES)
    from clipdefend.data.class_names.imagenet import imagenet_classes

    return imagenet_classes()
