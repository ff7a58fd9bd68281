"""The clean pairs that a defence is watched on."""

from __future__ import annotations

from typing import Any

from clipdefend.canvas import Canvas
from clipdefend.commands import inputs
from clipdefend.config import DefendConfig
from clipdefend.data.pairs import BuiltinPairs, Pairs
from clipdefend.model import ClipModel
from clipdefend.runs import Context
from clipdefend.training.visible import Visible, watch


def watched(
    config: DefendConfig, pairs: Pairs, canvas: Canvas, model: ClipModel, context: Context
) -> tuple[Visible | None, dict[str, Any] | None]:
    """What the training is watched on without knowing the attack, and what the manifest says of it."""
    if not config.val_pairs:
        return None, None
    held_out = config.val_data is not None or pairs.spec.startswith("builtin")
    if config.val_data is not None:
        chosen = inputs.open_data(config.val_data, config.columns, context)
    else:
        chosen = BuiltinPairs("eval") if held_out else pairs
    visible = watch(chosen, canvas, model, size=config.val_pairs, seed=config.seed)
    return visible, {"data": chosen.spec, "pairs": len(visible.images), "held_out": held_out}
