"""Embeddings to try objectives on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipdefend.objectives.term import Embeddings
from clipdefend.objectives.views import IMAGE_VIEWS, TEXT_VIEWS, names_of

IMAGES, SUBSET_IMAGES = names_of(IMAGE_VIEWS, "main"), names_of(IMAGE_VIEWS, "subset")
TEXTS, SUBSET_TEXTS = names_of(TEXT_VIEWS, "main"), names_of(TEXT_VIEWS, "subset")


def make_embeddings(*, main: int = 6, subset: int = 4, reference: bool = True, seed: int = 0) -> Embeddings:
    """All views, as leaves that collect gradients; a batch of size 0 is not there."""
    generator = torch.Generator().manual_seed(seed)

    def views(names: tuple[str, ...], n: int, grad: bool = True) -> dict[str, Tensor]:
        return {
            name: normalize(torch.randn(n, 8, generator=generator), dim=1).requires_grad_(grad)
            for name in names
            if n
        }

    return Embeddings(
        image=views(IMAGES, main) | views(SUBSET_IMAGES, subset),
        text=views(TEXTS, main) | views(SUBSET_TEXTS, subset),
        scale=torch.tensor(10.0, requires_grad=True),
        reference_image=views(IMAGES, main * reference, grad=False),
        reference_text=views(TEXTS, main * reference, grad=False),
    )


@pytest.fixture
def make() -> object:
    """The factory ``make(main=6, subset=4, reference=True, seed=0)``."""
    return make_embeddings
