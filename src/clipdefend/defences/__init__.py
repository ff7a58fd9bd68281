"""Defences: what a training run does beside minimising weighted terms.

``DEFENCES`` names those with a life of their own, ``clipdefend.objectives.METHODS`` those that are weighted terms and
nothing else; ``clipdefend.defences.build_defence.build_defence`` makes either by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipdefend.registry import Registry

if TYPE_CHECKING:
    from clipdefend.defences.defence import Defence

DEFENCES: Registry[Defence] = Registry(
    "defence",
    {
        "deep-clustering": "clipdefend.defences.deep_clustering:DeepClustering",
        "roclip": "clipdefend.defences.roclip:RoClip",
        "safeclip": "clipdefend.defences.safeclip:SafeClip",
        "shrink-perturb": "clipdefend.defences.shrink_perturb:ShrinkPerturb",
        "unlearn": "clipdefend.defences.unlearn:Unlearn",
    },
)

__all__ = ["DEFENCES"]
