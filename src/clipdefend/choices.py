"""Choices that both a flag and the code behind it take, each written once.

``config`` may not import what trains and measures, and neither should import ``config``.
"""

from __future__ import annotations

from typing import Literal

CanvasMode = Literal["crop", "squash"]
"""How an image becomes square: resize and centre crop, or a resize of both sides."""

Interpolation = Literal["bicubic", "bilinear", "nearest"]
"""How an image is resized."""

AsrProtocol = Literal["exclude-target", "all"]
"""Which triggered images the attack success rate counts: without those of the target class, or all."""

LrSchedule = Literal["cosine", "const", "cleanclip-compat"]
"""The learning rate after the warm-up."""

SubcaptionSchedule = Literal["interleave", "epoch-end", "in-batch"]
"""Where the mini-batches of sub-captions go in an epoch."""

Precision = Literal["fp32", "bf16", "fp16"]
TrainPrecision = Literal["fp32", "bf16", "fp16", "auto"]
"""Arithmetic of forward passes in training."""

BatchNormMode = Literal["train", "eval"]
"""Whether batch-norm layers normalise by, and update, batch statistics."""
