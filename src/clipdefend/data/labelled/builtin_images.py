"""Labelled images of the built-in world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.errors import DataError
from clipdefend.registry import nearest

if TYPE_CHECKING:
    from PIL import Image

    from clipdefend.world.splits import Split

SPLITS = ("eval",)
"""Splits whose scenes have a class."""


@dataclass(kw_only=True)
class BuiltinLabelled(LabelledImages):
    """Scenes of one split of the built-in world, labelled with the class of their subject."""

    split: str

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_scenes"}

    @cached_property
    def _scenes(self) -> Split:
        from clipdefend import world

        return world.split(self.split)

    def _decode(self, row: int) -> Image.Image:
        return self._scenes.image(row)

    def _image_identity(self, row: int) -> str:
        from clipdefend.world.splits import VERSION

        return str(VERSION)

    def image_ref(self, row: int) -> str:
        return f"builtin:{self.split}/{row}"


def open_builtin(split: str) -> BuiltinLabelled:
    """Open a split of the built-in world. Raises DataError if the split is unknown."""
    if split not in SPLITS:
        allowed = [f"builtin:{name}" for name in SPLITS]
        raise DataError(
            f"There are no labelled images 'builtin:{split}'.{nearest(f'builtin:{split}', allowed)}"
            f" Built in are: {', '.join(allowed)}."
        )
    from clipdefend import world

    scenes = world.split(split)
    return BuiltinLabelled(
        classes=list(world.CLASSES),
        templates=list(world.TEMPLATES),
        spec=f"builtin:{split}",
        recognised=f"built-in world, split {split!r}",
        labels=np.fromiter((scenes.label(row) for row in range(len(scenes))), np.int64, len(scenes)),
        split=split,
    )
