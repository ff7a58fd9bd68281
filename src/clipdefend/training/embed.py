"""From a batch of views to unit vectors: of this process, and of the global batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipdefend.distributed.gather import gather
from clipdefend.models.clip import ClipModel
from clipdefend.objectives.objective import Embeddings, Objective
from clipdefend.training.views import Batch

KINDS = ("image", "text", "reference_image", "reference_text")


@dataclass(frozen=True)
class Embedder:
    """Encodes all views of a batch in one forward pass of the wrapped model.

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
        return gathered(self.local(batch))

    def local(self, batch: Batch, *, refer: bool = True) -> Embeddings:
        """Unit vectors of this process's views; those of the reference only where ``refer`` is set."""
        device = self.accelerator.device
        images = {view: x.to(device, non_blocking=True) for view, x in batch.images.items()}
        tokens = {view: x.to(device, non_blocking=True) for view, x in batch.tokens.items()}
        image, text, scale = self.model(_stacked(images), _stacked(tokens))
        kept_images = {v: images[v] for v in self.objective.reference_image_views if v in images and refer}
        kept_tokens = {v: tokens[v] for v in self.objective.reference_text_views if v in tokens and refer}
        return Embeddings(
            image=_by_view(image, images),
            text=_by_view(text, tokens),
            scale=scale,
            reference_image=self._refer(kept_images, image=True),
            reference_text=self._refer(kept_tokens, image=False),
        )

    @torch.no_grad()
    def _refer(self, views: dict[str, Tensor], *, image: bool) -> dict[str, Tensor]:
        """The frozen model's vectors of views, (n, d) each."""
        if self.reference is None or not views:
            return {}
        stacked = _stacked(views)
        with self.accelerator.autocast():
            vectors, texts, _ = self.reference(stacked if image else None, None if image else stacked)
        return _by_view(vectors if image else texts, views)


def gathered(local: Embeddings) -> Embeddings:
    """The global batch of what each process has of it, with gradients."""
    return Embeddings(
        scale=local.scale,
        **{kind: {view: gather(x) for view, x in getattr(local, kind).items()} for kind in KINDS},
    )


def joined(parts: Iterable[Embeddings]) -> Embeddings:
    """Parts of this process's batch one behind the other; a view may be missing from some."""
    parts = list(parts)
    return Embeddings(scale=parts[0].scale, **{kind: _joined(parts, kind) for kind in KINDS})


def _joined(parts: list[Embeddings], kind: str) -> dict[str, Tensor]:
    views: dict[str, list[Tensor]] = {}
    for part in parts:
        for view, vectors in getattr(part, kind).items():
            views.setdefault(view, []).append(vectors)
    return {view: torch.cat(vectors) for view, vectors in views.items()}


def _stacked(views: Mapping[str, Tensor]) -> Tensor | None:
    return torch.cat(list(views.values())) if views else None


def _by_view(vectors: Tensor | None, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split stacked vectors into views."""
    if vectors is None:
        return {}
    parts = vectors.split([len(x) for x in views.values()])  # type: ignore[no-untyped-call]
    return dict(zip(views, parts, strict=True))
