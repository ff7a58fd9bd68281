"""The recipe: what is trained in which order, and by which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from photos import Photos
from stages import Lessons, Stage, train_both, train_text
from torch import Tensor
from torch.nn import functional as F
from towers import begin_as_bag, rear

from clipdefend.models.clip import ClipModel


@dataclass(frozen=True)
class Recipe:
    """Numbers of the three stages."""

    bag: Stage
    text: Stage
    both: Stage


RECIPE = Recipe(
    bag=Stage(steps=400, captions=512, prompts=256, lr=3e-3),
    text=Stage(steps=80, captions=192, prompts=64, lr=5e-4),
    both=Stage(steps=60, captions=128, prompts=48, lr=2e-4),
)


@torch.no_grad()
def project(trunk: Any, weight: Tensor) -> Tensor:
    """Make the trunk's last layer the projection into the classes' main directions.

    The classifier's rows, less their mean, are what the image tower holds of each class: along their main
    directions they stand for images that are not at hand.

    Args:
        trunk: image tower with a last layer of d outputs.
        weight: of ImageNet's classifier (classes, width).

    Returns:
        Proxies of the classes, unit vectors (classes, d).
    """
    width = trunk.classifier.weight.shape[0]
    left, sizes, right = torch.linalg.svd(weight - weight.mean(0), full_matrices=False)
    trunk.classifier.weight.copy_(right[:width])
    trunk.classifier.bias.zero_()
    return F.normalize(left[:, :width] * sizes[:width], dim=-1)


@torch.no_grad()
def image_vectors(trunk: Any, maps: Tensor) -> Tensor:
    """Unit vectors of all photos (n, d) from their maps."""
    return torch.cat([rear(trunk, batch) for batch in maps.split(256)])


def train(model: ClipModel, photos: Photos, maps: Tensor, proxies: Tensor, recipe: Recipe) -> None:
    """Train the model, in evaluation mode throughout: batch norms keep ImageNet's statistics."""
    lessons, trunk = Lessons(model, photos, proxies), model.clip.visual.trunk
    begin_as_bag(model.clip)
    frozen = image_vectors(trunk, maps)
    train_text("bag", recipe.bag, lessons, frozen, bag=True)
    train_text("text", recipe.text, lessons, frozen, bag=False)
    train_both(recipe.both, lessons, maps, frozen)
