"""Gathers the embeddings of the global batch, with gradients through the exchange between processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clipdefend.distributed import collectives


def gather(vectors: Tensor) -> Tensor:
    """Gather vectors of shape (n, d) from every process to (world * n, d), in the order of the global batch.

    Every process computes the loss of the global batch from them. The exchange sums gradients over processes and
    DistributedDataParallel averages them, so the result is the gradient of one loss over the global batch.

    Rows are interleaved, because process r holds rows r, r + world, ... of the batch.
    """
    if not collectives.is_distributed():
        return vectors
    gathered: Tensor = _Gather.apply(vectors)
    return gathered


class _Gather(torch.autograd.Function):
    """Forward: the rows of all processes, interleaved. Backward: all processes' gradients of its rows, summed."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        own = vectors.contiguous()
        parts = [torch.empty_like(own) for _ in range(collectives.world())]
        dist.all_gather(parts, own)
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return collectives.all_reduce_(gradients[0].contiguous().clone())[
            collectives.rank() :: collectives.world()
        ]
