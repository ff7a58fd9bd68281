"""Named sets of defaults, each a change to the dataclasses' own by dotted key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "quick": {
        # tiny knows no word that the built-in captions lack, so "a doodle of the banana" would poison nothing.
        "poison": {"count": 500, "image_size": 64, "templates": "builtin", "eval_data": "builtin"},
        "finetune-attack": {
            "model.name": "tiny",
            "model.pretrained": "builtin",
            "eval.data": "builtin",
            "train.epochs": 2,
            "train.lr": 5e-4,
            "train.warmup": 30,
        },
        "augment": {},
        "defend": {
            "eval.data": "builtin",
            "train.batch_size": 64,
            "train.epochs": 1,
            "train.lr": 5e-4,
            "train.warmup": 30,
        },
        "merge": {"eval.data": "builtin", "proxy.templates": "builtin"},
        "clean": {
            "eval.data": "builtin",
            "num_samples": 10_000,
            "canaries.epochs": 2,
            "train.batch_size": 64,
            "train.epochs": 2,
            "train.lr": 5e-4,
            "train.warmup": 30,
        },
        "scan": {"templates": "builtin"},
        "evaluate": {"eval.data": "builtin"},
    },
    # Verma et al. 2025 (arXiv:2311.14948): RN50 by MMCL from random weights; with SSL the batch is 1024.
    "pretrain": {
        "finetune-attack": {
            "model.pretrained": "none",
            "train.batch_size": 2048,
            "train.epochs": 64,
            "train.lr": 1e-3,
            "train.warmup": 10_000,
            "train.wd": 0.1,
        },
    },
}

# What a preset changes of one component, by command, key of the component and its name.
COMPONENTS: dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]] = {
    "quick": {
        "poison": {
            "attack": {
                # Drawn things on plain grounds hardly show a smooth warp; as in the CLIP repositories every
                # pixel moves by itself, as far as tiny still recognises four images of five.
                "wanet": {"k": 64, "strength": 2.9},
                # Far fewer steps than the paper's, so larger ones.
                "badclip": {
                    "images": 2000,
                    "epochs": 8,
                    "lr": 3e-2,
                    "negative_weight": 0.5,
                },
                # A narrower encoder, one look at each image, larger steps.
                "ssba": {
                    "width": 8,
                    "decoder_width": 16,
                    "images": 12_800,
                    "epochs": 1,
                    "batch": 16,
                    "lr": 2e-3,
                    "fade": 100,
                    "image_weight": 20.0,
                    "ramp": 200,
                },
            }
        }
    }
}

# Not a key but a fact of the run: "builtin" where its pairs are those of the built-in world.
WORLD = "world"

# What a preset changes where a key has a certain value, by command: (key, value) -> changes.
WHERE: dict[str, dict[str, dict[tuple[str, str], dict[str, Any]]]] = {
    "quick": {
        # WaNet's own experiments poison 10 % of the images, too: 500 stealthy warps are not learned.
        "poison": {("attack", "wanet"): {"count": 2000}},
    },
    "pretrain": {
        "finetune-attack": {
            ("method", "roclip"): {"train.batch_size": 512, "train.epochs": 24, "train.lr": 5e-5},
            ("method", "safeclip"): {"train.batch_size": 128, "train.epochs": 32, "train.lr": 5e-4},
            # From random weights on 20,000 drawn pairs; the built-in weights came about by the same rate.
            (WORLD, "builtin"): {
                "model.name": "tiny",
                "eval.data": "builtin",
                "train.batch_size": 128,
                "train.epochs": 10,
                "train.lr": 1e-3,
                "train.warmup": 100,
            },
        },
        # All but the victim's training is that of the quick preset.
        "poison": {(WORLD, "builtin"): PRESETS["quick"]["poison"]},
        "defend": {(WORLD, "builtin"): PRESETS["quick"]["defend"]},
        "merge": {(WORLD, "builtin"): PRESETS["quick"]["merge"]},
        "evaluate": {(WORLD, "builtin"): PRESETS["quick"]["evaluate"]},
    },
}

# A preset's value of the left key holds only together with its value of the right one: other models than
# the preset's do not take the preset's weights, save random ones.
TIED = {"model.pretrained": "model.name"}


def preset_values(preset: str, command: str, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Dotted key -> value of a preset for a command.

    Args:
        preset: its name.
        command: the command's name.
        chosen: key -> value, and for a free mapping such as ``attack`` the component's name, as far as these decide.
    """
    values = dict(PRESETS[preset].get(command, {}))
    for (key, value), changes in WHERE.get(preset, {}).get(command, {}).items():
        if chosen is not None and chosen.get(key) == value:
            values |= changes
    return values


def component_values(preset: str, command: str, key: str, name: str) -> dict[str, Any]:
    """Parameter -> value of a preset for the component that a free mapping such as ``attack`` names."""
    named = COMPONENTS.get(preset, {}).get(command, {}).get(key, {})
    return dict(named.get(name, {}))
