"""Collective operations of training and evaluation; with one process they return their input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether there is a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return the rank of this process, counted from 0."""
    return dist.get_rank() if is_distributed() else 0


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def all_reduce_sum(values: Sequence[float]) -> list[float]:
    """Sum numbers over the processes, each in float64.

    Args:
        values: numbers to add, the same number of them in every process.

    Returns:
        The sums, the same in every process.
    """
    if not is_distributed():
        return list(values)
    shared = torch.tensor(list(values), dtype=torch.float64, device=_device())
    dist.all_reduce(shared)
    return [float(value) for value in shared.cpu()]


def all_reduce_(values: Tensor) -> Tensor:
    """Sum a tensor over the processes in place; exact if all but one of them contribute zeros.

    Args:
        values: tensor of the same shape in every process.

    Returns:
        The same tensor.
    """
    if is_distributed():
        dist.all_reduce(values)
    return values


def all_gather_object(value: Any) -> list[Any]:
    """Gather a value from every process.

    Args:
        value: a value that JSON can represent.

    Returns:
        The values, in order of rank.
    """
    if not is_distributed():
        return [value]
    own = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=_device())
    sizes = [torch.zeros(1, dtype=torch.int64, device=_device()) for _ in range(world())]
    dist.all_gather(sizes, torch.tensor([len(own)], device=_device()))
    longest = max(int(size) for size in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8, device=_device())
    padded[: len(own)] = own
    parts = [torch.zeros_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [
        json.loads(bytes(part[: int(size)].cpu().numpy())) for part, size in zip(parts, sizes, strict=True)
    ]


def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of the main process."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def _device() -> torch.device:
    """Return the device on which the backend needs its tensors."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
