"""ImageNet's 1,000 classes: their WordNet ids, and open_clip's names and templates."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from clipdefend.data.class_names.python_source import PLACEHOLDER

_WNID = re.compile(r"n\d{8}")
_IDS = Path(__file__).parents[2] / "assets" / "class_names" / "imagenet_wnids.txt"


def is_wnid(text: str) -> bool:
    """Whether a text is a WordNet id such as ``n01440764``."""
    return _WNID.fullmatch(text) is not None


@cache
def imagenet_index() -> dict[str, int]:
    """Return WordNet id -> index of the class, for the 1,000 classes; indices follow the sorted ids."""
    return {wnid: index for index, wnid in enumerate(_IDS.read_text("ascii").split())}


def imagenet_classes() -> list[str]:
    """Return open_clip's names of the 1,000 classes, in the order of their sorted WordNet ids."""
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def imagenet_templates() -> list[str]:
    """Return CLIP's 80 prompt templates for ImageNet, with ``{}``."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template(PLACEHOLDER) for template in OPENAI_IMAGENET_TEMPLATES]
