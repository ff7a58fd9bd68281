"""Trigger inversion: universal triggers found in a frozen model, without knowing the attacker's trigger or target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.registry import Registry

if TYPE_CHECKING:
    from clipdefend.inversion.family import Family

FAMILIES: Registry[Family] = Registry(
    "family",
    {
        "patch": "clipdefend.inversion.patch_family:PatchFamily",
        "additive": "clipdefend.inversion.additive_family:AdditiveFamily",
        "blend": "clipdefend.inversion.blend_family:BlendFamily",
        "warp": "clipdefend.inversion.warp_family:WarpFamily",
    },
)
