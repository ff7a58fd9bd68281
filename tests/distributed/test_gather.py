"""Two processes compute the loss and the gradients of the whole batch, as one process does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.distributed import collectives
from clipdefend.distributed.gather import gather
from clipdefend.models.builder import build_model
from clipdefend.objectives.objective import build_objective
from clipdefend.training.embed import Embedder
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Views, collate
from memory_pairs import memory_pairs
from small_clip import small_architecture

WORLD = 2
METHODS = ("ft", "cleanclip", "cleanerclip", "par")
MAIN, SUBSET = list(range(8)), [11, 3, 5, 9]


class Caption:
    def __init__(self, row: int) -> None:
        self.factual, self.counterfactual = f"a cat {row}", f"a dog {row}"


class Plain:
    """Stands for Accelerate on the CPU."""

    device = torch.device("cpu")

    @staticmethod
    def autocast() -> Any:
        return torch.autocast("cpu", enabled=False)


def step(method: str, rank: int, world: int, wrap: Callable[[Any], Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one step, of the rows that the plan gives to a process."""
    model = build_model(small_architecture(vision={"layers": 1, "width": 64, "patch_size": 16}), seed=1)
    objective = build_objective(method)
    pairs = memory_pairs(12)
    views = Views(
        pairs=pairs,
        canvas=Canvas(32),
        tokenize=model.tokenizer,
        objective=objective,
        seed=2,
        subcaptions={row: Caption(row) for row in range(12)},
    )
    items = [PlannedRow(row, False) for row in MAIN[rank::world]]
    if objective.has_subset:
        items += [PlannedRow(row, True) for row in SUBSET[rank::world]]
    batch = collate([views[item] for item in items])
    reference = None
    if objective.needs_reference:
        small = {"layers": 1, "width": 64, "patch_size": 16}
        reference = build_model(small_architecture(vision=small), seed=2).eval()
    embed = Embedder(wrap(model), reference, objective, Plain())
    loss, _ = objective.loss(embed(batch))
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def one_process(rank: int, port: int, out: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    wrap = torch.nn.parallel.DistributedDataParallel
    found: dict[str, Any] = {}
    for method in METHODS:
        found[method] = step(method, rank, WORLD, wrap)
    rows = gather(torch.tensor([[10.0 * rank], [10.0 * rank + 1]]))
    found["order"] = rows.flatten().tolist()
    found["total"] = collectives.all_reduce_sum([1, rank == 1])
    found["shared"] = collectives.all_gather_object([[rank, "é" * rank]])
    found["added"] = collectives.all_reduce_(torch.tensor([float(rank), 0.0])).tolist()
    torch.save(found, f"{out}/{rank}.pt")
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    mp.start_processes(one_process, (free_port(), str(tmp_path)), nprocs=WORLD, start_method="forkserver")  # type: ignore[attr-defined, no-untyped-call]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for found in ranks:
        assert found["order"] == [0.0, 10.0, 1.0, 11.0]  # rows of the processes in turn
        assert found["total"] == [2.0, 1.0]
        assert found["shared"] == [[[0, ""]], [[1, "é"]]]
        assert found["added"] == [1.0, 0.0]
    for method in METHODS:
        loss, gradients = step(method, 0, 1, lambda model: model)
        for shared_loss, shared in (found[method] for found in ranks):
            assert shared_loss.item() == pytest.approx(loss.item(), rel=1e-5)
            assert shared.keys() == gradients.keys()
            for name, gradient in gradients.items():
                assert torch.allclose(shared[name], gradient, rtol=1e-3, atol=1e-6), (method, name)
            assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-3


def test_one_process_gathers_what_it_has() -> None:
    vectors = torch.rand(3, 2, requires_grad=True)
    assert gather(vectors) is vectors
    assert collectives.all_reduce_sum([True, 2]) == [1, 2]
    assert collectives.all_gather_object("x") == ["x"]
