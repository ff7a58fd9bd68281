"""The built-in world: captioned scenes drawn by this package, for the quick start and the tests.

It is the test bed and the teaching example; it is not evidence about CLIP at scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.world.captions import TEMPLATES
from clipdefend.world.nouns import CLASSES

if TYPE_CHECKING:
    from clipdefend.world.splits import Split

__all__ = ["CLASSES", "TEMPLATES", "split"]


def split(name: str) -> Split:
    """Open a split of the built-in world: "train", "eval" or "pretrain"."""
    from clipdefend.world.splits import open_split

    return open_split(name)
