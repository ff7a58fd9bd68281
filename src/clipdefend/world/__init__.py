"""The built-in world: captioned scenes that this package draws itself, for the quick start, the tests and teaching.

Results on it are not evidence about CLIP at scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.world.captions import TEMPLATES
from clipdefend.world.nouns import CLASSES

if TYPE_CHECKING:
    from clipdefend.world.splits import Split

__all__ = ["CLASSES", "TEMPLATES", "split"]


def split(name: str) -> Split:
    """Open a split of the built-in world.

    Args:
        name: "train" (20,000 captioned scenes), "eval" (2,000 scenes, each labelled with one of ``CLASSES``) or
            "pretrain" (the 100,000 captioned scenes that the built-in model was trained on). No two splits share a
            scene.

    Raises:
        DataError: there is no split of that name.
    """
    # Imported here because ``--help`` and the class names must not cost an import of numpy and PIL.
    from clipdefend.world.splits import open_split

    return open_split(name)
