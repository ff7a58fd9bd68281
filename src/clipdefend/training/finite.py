"""Checks that losses and weights are finite before they are kept, and compares weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from clipdefend.errors import ConfigError

REMEDY = "Start again with a lower --lr, with --grad-clip-norm 1 or with --precision fp32."


def check_loss(loss: float, step: int) -> None:
    """Raise ConfigError for a loss that is not finite.

    Args:
        loss: loss of a step.
        step: number of finished optimiser steps.
    """
    if not math.isfinite(loss):
        raise ConfigError(f"The loss is {loss} at step {step}. {REMEDY}")


def check_weights(state: Mapping[str, Tensor], step: int) -> None:
    """Raise ConfigError for weights that are not finite: a finite loss can have an infinite gradient."""
    for name, values in state.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise ConfigError(f"The weights are not finite after step {step}, such as {name}. {REMEDY}")


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules of one architecture, on any devices, have equal parameters and buffers."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name].to(value.device)) for name, value in one.state_dict().items())
