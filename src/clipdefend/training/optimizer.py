"""AdamW with CLIP's rule for weight decay."""

from __future__ import annotations

import torch
from torch import nn

NO_DECAY = ("bn", "ln", "bias", "logit_scale")


def build_optimizer(
    *modules: nn.Module, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters of modules.

    Norms, biases, the logit scale and the names in a module's ``no_decay`` do not decay.

    Reference: CleanCLIP, src/optimizer.py: no decay for names with bn, ln, bias or logit_scale.
    Deviates: no vector decays, whatever its name, so that norms with other names are exempt as well.
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
