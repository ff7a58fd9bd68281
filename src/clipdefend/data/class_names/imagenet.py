"""ImageNet's 1,000 classes: WordNet ids, and open_clip's names and templates for them."""

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
    """Index of each of the 1,000 classes by its WordNet id; the indices follow the sorted ids."""
    return {wnid: index for index, wnid in enumerate(_IDS.read_text("ascii").split())}


def imagenet_classes() -> list[str]:
    """open_clip's names of the 1,000 classes, in the order of the sorted WordNet ids."""
    from open_clip import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def imagenet_templates() -> list[str]:
    """The 80 prompt templates of CLIP for ImageNet, with ``{}``."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template(PLACEHOLDER) for template in OPENAI_IMAGENET_TEMPLATES]
