"""SigLIP's image tower in any size, as timm builds it, under names that open_clip's configurations can hold.

timm has entry points for the published sizes only, with the exact GELU, where transformers' SigLIP computes the
tanh approximation. A name says all that a tower is made of:
``clipdefend_siglip_w768_d12_h12_m3072_p16_r224_tanh`` is of width 768, depth 12, 12 heads, 3072 hidden units,
patches of 16 and images of 224 pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

_NAME = re.compile(r"clipdefend_siglip_w(\d+)_d(\d+)_h(\d+)_m(\d+)_p(\d+)_r(\d+)_(tanh|exact)")
MAX_NUMBER = 1 << 16


@dataclass(frozen=True)
class SiglipTower:
    """Sizes of a tower: width, depth, heads, hidden units of its MLPs, pixels of a patch and of an image."""

    width: int
    depth: int
    heads: int
    hidden: int
    patch: int
    image: int
    tanh: bool

    @property
    def name(self) -> str:
        """The name for ``timm_model_name``."""
        activation = "tanh" if self.tanh else "exact"
        return (
            f"clipdefend_siglip_w{self.width}_d{self.depth}_h{self.heads}_m{self.hidden}_p{self.patch}"
            f"_r{self.image}_{activation}"
        )

    @classmethod
    def parse(cls, name: str) -> SiglipTower | None:
        """The tower of a name, or None for a name of timm's own."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        numbers = [int(text) for text in match.groups()[:6]]
        if not all(1 <= number <= MAX_NUMBER for number in numbers):
            raise ValueError(f"{name!r:.100} has a number outside 1 to {MAX_NUMBER}")
        width, depth, heads, hidden, patch, image = numbers
        return cls(width, depth, heads, hidden, patch, image, match.group(7) == "tanh")

    def build(self, **options: Any) -> nn.Module:
        """timm's ``VisionTransformer`` with attention pooling (the MAP head) and random weights."""
        from timm.models import VisionTransformer

        return VisionTransformer(
            img_size=self.image,
            patch_size=self.patch,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            mlp_ratio=(self.hidden + 0.5) / self.width,  # timm rounds the product down
            class_token=False,
            global_pool="map",
            num_classes=0,
            act_layer=partial(nn.GELU, approximate="tanh" if self.tanh else "none"),
            **{key: value for key, value in options.items() if key in ("drop_path_rate", "patch_drop_rate")},
        )


def register_tower(name: str) -> None:
    """Make a tower of this module's names known to timm, so that open_clip can build it."""
    tower = SiglipTower.parse(name)
    if tower is None:
        return
    from timm.models import is_model, register_model

    if is_model(name):
        return

    def entry_point(pretrained: bool = False, **options: Any) -> nn.Module:
        return tower.build(**options)

    entry_point.__name__ = name
    entry_point.__module__ = __name__
    register_model(entry_point)
