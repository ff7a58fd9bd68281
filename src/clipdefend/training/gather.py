"""Embeddings of the global batch, with gradients through the exchange between processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gather(vectors: Tensor) -> Tensor:
    """Vectors (n, d) of every process as (world * n, d), in the order of the global batch.

    Every process computes the loss of the whole batch from them. The exchange sums gradients over processes and
    DistributedDataParallel averages them, so the result is the gradient of one loss over the whole batch.

    Rows of processes are interleaved, since process r holds rows r, r + world, ... of the batch.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return vectors
    from torch.distributed.nn.functional import all_gather

    parts = all_gather(vectors.contiguous())  # type: ignore[no-untyped-call]
    return torch.stack(tuple(parts), dim=1).flatten(0, 1)


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process: all of them get the same answer."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return flag
    shared = torch.tensor([float(flag)], device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())
