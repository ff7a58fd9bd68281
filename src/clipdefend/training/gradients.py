"""Computes the gradients of one step, over any number of processes and micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from clipdefend.distributed import collectives
from clipdefend.draws import draw_seed
from clipdefend.objectives.term import Embeddings
from clipdefend.training.embed import Embedder, concatenate
from clipdefend.training.samples import Batch

Parts = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """Loss and embeddings of a step, all detached.

    Attributes:
        total: the loss of the global batch, shape ().
        parts: term -> its unweighted value, shape ().
        embeddings: embeddings of the global batch.
        norms: term -> norm of its weighted gradient, if it was measured.
    """

    total: Tensor
    parts: Parts
    embeddings: Embeddings
    norms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Adds the gradients of a step to the model's.

    A single batch takes one forward and one backward pass. Several micro-batches make the same step in the memory
    of one: a pass without gradients caches all features; the loss of the whole batch, computed once, gives the
    gradients of the features; and a second pass through each micro-batch propagates them to the weights. The
    second pass repeats the first bit for bit, because dropout is seeded by (seed, step, micro-batch, process) and
    views are made once, before both. Batch-norm statistics are updated in the second pass alone;
    each micro-batch is normalised by its own, so with ``batch_norm: train`` the step differs from the full batch's.

    Attributes:
        embed: embeds a batch.
        seed: seed of dropout and of device views.
        complete: whether every micro-batch reaches every weight; if not, gradients are averaged over the
            processes after each micro-batch.

    Reference: Gao et al. 2021, GradCache (arXiv:2101.06983), section 3; open_clip's ``--accum-freq``.
    Deviates: open_clip computes the loss for each micro-batch, which multiplies the gradient of the logit scale.
    """

    embed: Embedder
    seed: int
    complete: bool = True

    def __call__(self, batches: Sequence[Batch], step: int, epoch: int = 0) -> StepLoss:
        """Compute the loss of the global batch and add its gradients to those of the weights.

        Args:
            batches: this process's micro-batches.
            step: number of optimiser steps before this one.
            epoch: epoch, counted from 0, which seeds device views.
        """
        batches = [self.embed.add_device_views(batch, self.seed, epoch) for batch in batches]
        if len(batches) > 1:
            return self._step_in_micro_batches(batches, step)
        self._draw(step, 0)
        return self._backward(self.embed(batches[0]))

    def _backward(self, e: Embeddings) -> StepLoss:
        loss, parts = self.embed.objective.loss(e)
        # Make the scale part of every loss: distributed training waits for the gradient of each parameter.
        loss = loss + 0.0 * e.scale
        self.embed.accelerator.backward(loss)
        return StepLoss(total=loss.detach(), parts=parts, embeddings=_detach(e))

    def _step_in_micro_batches(self, batches: Sequence[Batch], step: int) -> StepLoss:
        local = []
        with torch.no_grad(), self._apart(), keep_statistics(self.embed.model):
            for number, batch in enumerate(batches):
                self._draw(step, number)
                local.append(self.embed.local(batch))
        leaves = _leaves(concatenate(local))
        loss = self._backward(self.embed.gather(leaves))
        places: dict[str, int] = {}
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            self._draw(step, number)
            with nullcontext() if last or not self.complete else self._apart():
                fresh = self.embed.local(batch, refer=False)
                _carry(fresh, leaves, places, last)
        return loss

    def _apart(self) -> AbstractContextManager[None]:
        """Context in which processes do not average their gradients."""
        context: AbstractContextManager[None] = self.embed.accelerator.no_sync(self.embed.model)
        return context

    def _draw(self, step: int, number: int) -> None:
        torch.manual_seed(draw_seed(self.seed, "dropout", step, number, collectives.rank()))


@contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Context in which batch norms normalise as usual but do not update their running statistics."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _detach(e: Embeddings) -> Embeddings:
    """Return the same vectors without their graph."""
    return replace(
        e,
        image={view: x.detach() for view, x in e.image.items()},
        text={view: x.detach() for view, x in e.text.items()},
        scale=e.scale.detach(),
    )


def _leaves(e: Embeddings) -> Embeddings:
    """Return the same vectors as leaves of a new graph."""
    return replace(
        e,
        image={view: x.detach().requires_grad_() for view, x in e.image.items()},
        text={view: x.detach().requires_grad_() for view, x in e.text.items()},
        scale=e.scale.detach().requires_grad_(),
    )


def _carry(fresh: Embeddings, leaves: Embeddings, places: dict[str, int], last: bool) -> None:
    """Propagate a micro-batch's share of the features' gradients to the weights.

    Args:
        fresh: features of the micro-batch, with a graph.
        leaves: features of the whole batch, with gradients.
        places: view -> number of rows of earlier micro-batches; updated in place.
        last: whether this is the last micro-batch, with which the gradient of the scale is propagated.
    """
    outputs, gradients = [], []
    for kind, of, whole in (("i", fresh.image, leaves.image), ("t", fresh.text, leaves.text)):
        for view, vectors, gradient in _slices(kind, of, whole, places):
            if vectors.requires_grad:  # not those of a frozen tower
                outputs.append(vectors)
                gradients.append(torch.zeros_like(vectors) if gradient is None else gradient)
            places[kind + view] = places.get(kind + view, 0) + len(vectors)
    if fresh.scale.requires_grad:
        outputs.append(fresh.scale)
        due = leaves.scale.grad if last else None
        gradients.append(torch.zeros_like(fresh.scale) if due is None else due)
    torch.autograd.backward(outputs, gradients)


def _slices(
    kind: str, of: Mapping[str, Tensor], whole: Mapping[str, Tensor], places: Mapping[str, int]
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield view, vectors of a micro-batch, and their part of the gradient."""
    for view, vectors in of.items():
        start = places.get(kind + view, 0)
        gradient = whole[view].grad
        yield view, vectors, None if gradient is None else gradient[start : start + len(vectors)]
