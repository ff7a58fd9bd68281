"""From a batch of views to the embeddings of the global batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipdefend.model import ClipModel
from clipdefend.objectives.base import Embeddings, Objective
from clipdefend.training.gather import gather
from clipdefend.training.views import Batch


@dataclass(frozen=True)
class Embedder:
    """Encodes all views of a step in one forward pass of the wrapped model.

    Attributes:
        model: as wrapped by Accelerate.
        reference: the frozen start model, or None.
        objective: says what the reference has to see.
        accelerator: moves and casts.
    """

    model: nn.Module
    reference: ClipModel | None
    objective: Objective
    accelerator: Any

    def __call__(self, batch: Batch) -> Embeddings:
        """Unit vectors of each view, gathered over the processes with gradients."""
        device = self.accelerator.device
        images = {view: x.to(device, non_blocking=True) for view, x in batch.images.items()}
        tokens = {view: x.to(device, non_blocking=True) for view, x in batch.tokens.items()}
        image, text, scale = self.model(torch.cat(list(images.values())), torch.cat(list(tokens.values())))
        kept_images = {v: images[v] for v in self.objective.reference_image_views if v in images}
        kept_tokens = {v: tokens[v] for v in self.objective.reference_text_views if v in tokens}
        return Embeddings(
            image=_gathered(image, images),
            text=_gathered(text, tokens),
            scale=scale,
            reference_image=self._refer(kept_images, image=True),
            reference_text=self._refer(kept_tokens, image=False),
        )

    @torch.no_grad()
    def _refer(self, views: dict[str, Tensor], *, image: bool) -> dict[str, Tensor]:
        """The frozen model's vectors of views, (n, d) each."""
        if self.reference is None or not views:
            return {}
        stacked = torch.cat(list(views.values()))
        with self.accelerator.autocast():
            vectors, texts, _ = self.reference(stacked if image else None, None if image else stacked)
        return _gathered(vectors if image else texts, views)


def _gathered(vectors: Tensor, views: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split stacked vectors into views and gather each over the processes."""
    parts = vectors.split([len(x) for x in views.values()])  # type: ignore[no-untyped-call]
    return {view: gather(part) for view, part in zip(views, parts, strict=True)}
