"""Whether a trigger sends images of all kinds to one class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.published import PRESETS
from clipdefend.attacks.trigger import Trigger


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """The class to which most triggered images go.

    Attributes:
        target: its index.
        share: share of the images of other classes that the trigger moves to this class; 0 to 1.
        count: number of images that were of other classes without the trigger.
    """

    target: int
    share: float
    count: int


def concentrate(clean: Tensor, triggered: Tensor, target: int | None = None) -> Concentration:
    """Find the class on which triggered images concentrate: an ASR without labels.

    Args:
        clean: cosines of the images without the trigger with the class texts, shape (n, classes).
        triggered: the same with the trigger.
        target: class to count; None: the one that most triggered images are nearest to.
    """
    before, after = clean.argmax(dim=1), triggered.argmax(dim=1)
    chosen = int(torch.bincount(after, minlength=clean.shape[1]).argmax()) if target is None else target
    moved = after[before != chosen] == chosen
    return Concentration(
        target=chosen, share=float(moved.float().mean()) if len(moved) else 0.0, count=len(moved)
    )


def library_triggers(size: int) -> Iterator[tuple[str, Trigger]]:
    """Yield the triggers of the attack library, with its defaults and with the published settings, from seed 0.

    Attacks that are learned or made from files are left out: without the attacker's training they are noise.

    Args:
        size: side of the canvas in pixels.
    """
    variants: list[tuple[str, str, dict[str, Any]]] = [(name, "", {}) for name in ATTACKS.names()]
    variants += [
        (name, preset, dict(params))
        for preset, each in PRESETS.items()
        for name, params in each.attacks.items()
    ]
    seen: set[str] = set()
    for name, preset, params in variants:
        attack = ATTACKS.build(name, params)
        if attack.learned or repr(attack) in seen or any(key in params for key in ("image", "precomputed")):
            continue
        seen.add(repr(attack))
        yield f"{name} ({preset})" if preset else name, Trigger.create(name, params, size=size, seed=0)
