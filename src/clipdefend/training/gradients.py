"""The gradients of one step, over any number of processes and of micro-batches."""

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
    """What a step's forward passes gave; all without gradients.

    Attributes:
        total: the loss of the global batch, shape ().
        parts: term -> its unweighted value, shape ().
        embeddings: of the global batch.
        norms: term -> norm of its weighted gradient, where that was asked for.
    """

    total: Tensor
    parts: Parts
    embeddings: Embeddings
    norms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Adds the gradients of a step to the model's.

    One batch is one forward and one backward pass. Several micro-batches make the same step in the memory of
    one: a pass without gradients caches the features of all; the loss of the whole batch, computed once, gives
    the gradients of the features; and a second pass through each micro-batch carries them into the weights.
    The second pass repeats the first to the bit, since dropout is drawn from (seed, step, micro-batch, process)
    and views are made once, before both. Batch-norm statistics are updated in the second pass alone;
    each micro-batch is normalised by its own, so that with ``batch_norm: train`` it is not the full batch.

    Attributes:
        embed: encodes.
        seed: of dropout and of the views that the device makes.
        complete: whether every micro-batch reaches every weight; where not, they are averaged over the
            processes after each one.

    Reference: Gao et al. 2021, GradCache (arXiv:2101.06983), section 3; open_clip's ``--accum-freq``.
    Deviates: open_clip computes the loss once a micro-batch, which multiplies the gradient of the logit scale.
    """

    embed: Embedder
    seed: int
    complete: bool = True

    def __call__(self, batches: Sequence[Batch], step: int, epoch: int = 0) -> StepLoss:
        """The loss of the global batch, whose gradients are added to the weights'.

        Args:
            batches: this process's micro-batches.
            step: optimiser steps before this one.
            epoch: counted from 0; of the views that the device makes.
        """
        batches = [self.embed.add_device_views(batch, self.seed, epoch) for batch in batches]
        if len(batches) > 1:
            return self._step_in_micro_batches(batches, step)
        self._draw(step, 0)
        return self._backward(self.embed(batches[0]))

    def _backward(self, e: Embeddings) -> StepLoss:
        loss, parts = self.embed.objective.loss(e)
        # The scale takes part in every loss: several processes wait for the gradient of everything.
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
        """Context in which processes do not average their gradients yet."""
        context: AbstractContextManager[None] = self.embed.accelerator.no_sync(self.embed.model)
        return context

    def _draw(self, step: int, number: int) -> None:
        torch.manual_seed(draw_seed(self.seed, "dropout", step, number, collectives.rank()))


@contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Context in which batch norms normalise as before and do not update their running statistics."""
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
    """The same vectors without their graph."""
    return replace(
        e,
        image={view: x.detach() for view, x in e.image.items()},
        text={view: x.detach() for view, x in e.text.items()},
        scale=e.scale.detach(),
    )


def _leaves(e: Embeddings) -> Embeddings:
    """The same vectors as the beginning of a graph."""
    return replace(
        e,
        image={view: x.detach().requires_grad_() for view, x in e.image.items()},
        text={view: x.detach().requires_grad_() for view, x in e.text.items()},
        scale=e.scale.detach().requires_grad_(),
    )


def _carry(fresh: Embeddings, leaves: Embeddings, places: dict[str, int], last: bool) -> None:
    """Hand a micro-batch's share of the features' gradients on to the weights.

    Args:
        fresh: its features, with a graph.
        leaves: those of the whole batch, with gradients.
        places: view -> rows that earlier micro-batches had; moved on.
        last: whether the scale's gradient, one for the whole batch, is due.
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
    """View, vectors of a micro-batch, and their part of the gradient."""
    for view, vectors in of.items():
        start = places.get(kind + view, 0)
        gradient = whole[view].grad
        yield view, vectors, None if gradient is None else gradient[start : start + len(vectors)]
