"""Shrink and perturb: weights are moved towards a fresh initialisation before training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from clipdefend.defences.composed_defence import ComposedDefence
from clipdefend.defences.defence import Course, TrainingData
from clipdefend.draws import draw_seed
from clipdefend.losses import check_positive
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel


@dataclass(frozen=True, kw_only=True)
class ShrinkPerturb(ComposedDefence):
    """Moves the weights towards a fresh initialisation, then trains with a method.

    theta <- shrink * theta + perturb * theta_random, once, before the first step.

    theta_random is a fresh initialisation of the same architecture, determined by the run's seed. Only parameters
    move, not the running statistics of batch norms, which follow in training with ``batch_norm: train``. Towers frozen
    by ``--lock-image`` and ``--lock-text`` are moved as well.

    Attributes:
        method, terms: training that follows; see ``ComposedDefence``.
        shrink: lambda, above 0; 1 keeps the weights.
        perturb: p, at least 0.
        logit_scale: move the logit scale (and the logit bias) too, as the paper's code does: at 0.95 a scale of 100
            becomes 79.
        batch_norm: move the weights and biases of batch norms too, as the paper's code does.

    Reference: Ash and Adams 2020 (arXiv:1910.08475); as a defence Verma et al. 2025 (arXiv:2311.14948), with
    lambda 0.95 and p 1e-4 before 20 epochs of CleanCLIP at a learning rate of 1e-4.
    """

    shrink: float = 0.95
    perturb: float = 1e-4
    logit_scale: bool = True
    batch_norm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(shrink=self.shrink)
        if not 0 <= self.perturb < float("inf"):
            raise ValueError(f"perturb is {self.perturb}; it must be a finite number of at least 0")

    @torch.no_grad()
    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        # A separate seed: a victim trained from scratch started from the initialisation of the run's seed.
        seed = draw_seed(data.seed, "shrink and perturb")
        fresh = dict(build_model(model.architecture, seed=seed).clip.named_parameters())
        kept = self._kept(model.clip)
        for name, parameter in model.clip.named_parameters():
            if name not in kept:
                parameter.mul_(self.shrink).add_(fresh[name], alpha=self.perturb)
        return Course()

    def _kept(self, clip: nn.Module) -> set[str]:
        """Return the names of the parameters that are not moved."""
        kept = set() if self.logit_scale else {"logit_scale", "logit_bias"}
        if not self.batch_norm:
            for path, module in clip.named_modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    kept |= {f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
        return kept
