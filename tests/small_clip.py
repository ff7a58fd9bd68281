"""A small CLIP with random weights."""

from __future__ import annotations

from typing import Any

from clipdefend.models.clip import Architecture

SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def small_architecture(
    *, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **model: Any
) -> Architecture:
    """A ModifiedResNet of 32 pixels and a text tower of one layer, with changes."""
    return Architecture(
        {
            **SMALL,
            **model,
            "vision_cfg": {**SMALL["vision_cfg"], **(vision or {})},
            "text_cfg": {**SMALL["text_cfg"], **(text or {})},
        }
    )
