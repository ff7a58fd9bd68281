"""AdamW with the field's rule for what decays."""

from __future__ import annotations

import torch
from torch import nn

NO_DECAY = ("bn", "ln", "bias", "logit_scale")


def build_optimizer(
    *modules: nn.Module, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; norms, biases, the logit scale and a module's ``no_decay`` do not.

    Reference: CleanCLIP, src/optimizer.py: no decay for names with bn, ln, bias or logit_scale.
    Deviates: vectors of any name do not decay either, so that norms called otherwise are spared too.
    """
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in modules:
        own = getattr(module, "no_decay", ())
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                spared = parameter.ndim < 2 or name in own or any(word in name for word in NO_DECAY)
                (plain if spared else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, eps=eps, fused=True)
