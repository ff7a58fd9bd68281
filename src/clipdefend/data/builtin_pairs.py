"""The built-in world as pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clipdefend.data.pairs import Pairs

if TYPE_CHECKING:
    from PIL import Image

    from clipdefend.world.splits import Split


@dataclass
class BuiltinPairs(Pairs):
    """Captioned scenes of the built-in world."""

    split: str
    spec: str = field(init=False)

    def __post_init__(self) -> None:
        self.spec = self.fingerprint = f"builtin:{self.split}"
        self.recognised = f"built-in world, split {self.split!r}, {len(self):,} rows"

    def __getstate__(self) -> dict[str, Any]:
        return {"split": self.split}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @cached_property
    def _scenes(self) -> Split:
        from clipdefend import world

        return world.split(self.split)

    def __len__(self) -> int:
        return len(self._scenes)

    def caption(self, row: int) -> str:
        return self._scenes.caption(row)

    def image(self, row: int) -> Image.Image:
        return self._scenes.image(row)

    def image_ref(self, row: int) -> str:
        return f"builtin:{self.split}/{row}"
