"""Named sets of defaults, each a change to the dataclasses' own by dotted key."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "quick": {
        "poison": {"count": 300, "image_size": 64},
        "finetune-attack": {
            "model.name": "tiny",
            "model.pretrained": "builtin",
            "eval.data": "builtin",
            "train.epochs": 4,
            "train.lr": 5e-4,
            "train.warmup": 50,
        },
        "augment": {},
        "defend": {
            "eval.data": "builtin",
            "train.batch_size": 64,
            "train.epochs": 3,
            "train.lr": 3e-4,
            "train.warmup": 50,
        },
        "evaluate": {"eval.data": "builtin"},
    },
}

# A preset's value of the left key holds only together with its value of the right one: other models than
# the preset's do not take the preset's weights.
TIED = {"model.pretrained": "model.name"}


def preset_values(preset: str, command: str) -> dict[str, Any]:
    """Dotted key -> value of a preset for a command."""
    return dict(PRESETS[preset].get(command, {}))
