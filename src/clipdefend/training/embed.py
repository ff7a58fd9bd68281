"""Embeds a batch of views, for this process and for the global batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from clipdefend.distributed.gather import gather
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings
from clipdefend.objectives.views import DeviceBatch
from clipdefend.training.samples import Batch

KINDS = ("image", "text", "reference_image", "reference_text", "rows")

Extra = Callable[[Mapping[str, Tensor]], Mapping[str, Any]]


def no_extra(rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """Return an empty mapping: a defence without state has nothing extra for its terms."""
    return {}


@dataclass(frozen=True)
class Embedder:
    """Encodes all views of a batch in one forward pass of the wrapped model.

    Attributes:
        model: the model as wrapped by Accelerate.
        reference: the frozen suspect, or None.
        objective: decides which views the model and the reference embed.
        accelerator: provides device and autocast.
        extra: see ``Course.extra``.
    """

    model: nn.Module
    reference: ClipModel | None
    objective: Objective
    accelerator: Any
    extra: Extra = no_extra

    def __call__(self, batch: Batch) -> Embeddings:
        """Return the unit vectors of each view, gathered over the processes with gradients."""
        return self.gather(self.local(batch))

    def gather(self, local: Embeddings) -> Embeddings:
        """Gather the global batch, with gradients, from the share of each process."""
        parts = {kind: {view: gather(x) for view, x in getattr(local, kind).items()} for kind in KINDS}
        # Found by name, because wrappers of the model hide the attribute.
        named = self.model.named_parameters()
        bias = next((value for name, value in named if name.rpartition(".")[2] == "logit_bias"), None)
        return Embeddings(
            scale=local.scale,
            **parts,
            extra=self.extra(parts["rows"]),
            bias=None if bias is None else bias.detach(),
        )

    def local(self, batch: Batch, *, refer: bool = True) -> Embeddings:
        """Return the unit vectors of this process's views.

        Args:
            batch: the views.
            refer: whether the reference embeds its views as well.
        """
        device = self.accelerator.device
        wanted = (*self.objective.image_views, *self.objective.subset_image_views)
        images = {v: x.to(device, non_blocking=True) for v, x in batch.images.items() if v in wanted}
        texts = (*self.objective.text_views, *self.objective.subset_text_views)
        tokens = {v: x.to(device, non_blocking=True) for v, x in batch.tokens.items() if v in texts}
        image, text, scale = self.model(_stack(images), _stack(tokens))
        kept_images = {v: images[v] for v in self.objective.reference_image_views if v in images and refer}
        kept_tokens = {v: tokens[v] for v in self.objective.reference_text_views if v in tokens and refer}
        return Embeddings(
            image=_split(image, images),
            text=_split(text, tokens),
            scale=scale,
            reference_image=self._refer(kept_images, image=True),
            reference_text=self._refer(kept_tokens, image=False),
            rows={name: rows.to(device) for name, rows in batch.rows.items()},
        )

    def add_device_views(self, batch: Batch, seed: int, epoch: int) -> Batch:
        """Return the batch with the views that the current model makes added.

        Args:
            batch: the batch as loaded.
            seed, epoch: arguments of ``View.seed``.
        """
        if not self.objective.device_views or "main" not in batch.rows:
            return batch
        device, rows = self.accelerator.device, batch.rows["main"]
        model: ClipModel = self.accelerator.unwrap_model(self.model)
        made = {}
        with evaluating(model), self.accelerator.autocast():
            for view in self.objective.device_views:
                given = DeviceBatch(
                    model=model,
                    images=_as_float(batch.images[view.base].to(device)),
                    tokens=batch.tokens[view.text].to(device),
                    rows=rows.to(device),
                    seeds=[view.seed(seed, epoch, row) for row in rows.tolist()],
                    extra=self.extra({"main": rows.to(device)}),
                )
                pixels = view.make(given)
                made[view.name] = pixels if pixels.is_leaf else pixels.detach()
        return replace(batch, images={**batch.images, **made})

    @torch.no_grad()
    def _refer(self, views: dict[str, Tensor], *, image: bool) -> dict[str, Tensor]:
        """Return the frozen suspect's unit vectors of views, shape (n, d) each."""
        if self.reference is None or not views:
            return {}
        stacked = _stack(views)
        with self.accelerator.autocast():
            vectors, texts, _ = self.reference(stacked if image else None, None if image else stacked)
        return _split(vectors if image else texts, views)


def concatenate(parts: Iterable[Embeddings]) -> Embeddings:
    """Concatenate parts of this process's batch; a view may be missing from some of them."""
    parts = list(parts)
    joined: dict[str, Any] = {kind: _concatenate(parts, kind) for kind in KINDS}
    return Embeddings(scale=parts[0].scale, **joined)


def _concatenate(parts: list[Embeddings], kind: str) -> dict[str, Tensor]:
    views: dict[str, list[Tensor]] = {}
    for part in parts:
        for view, vectors in getattr(part, kind).items():
            views.setdefault(view, []).append(vectors)
    return {view: torch.cat(vectors) for view, vectors in views.items()}


def _stack(views: Mapping[str, Tensor]) -> Tensor | None:
    """Stack all views into one batch; if the pixels of one view are float, all become float."""
    if not views:
        return None
    if any(x.is_floating_point() for x in views.values()):
        return torch.cat([_as_float(x) for x in views.values()])
    return torch.cat(list(views.values()))


def _as_float(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float in [0, 1], as the model does."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _split(vectors: Tensor | None, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the vectors of stacked views into those of each view."""
    if vectors is None:
        return {}
    parts = vectors.split([len(x) for x in views.values()])
    return dict(zip(views, parts, strict=True))
