"""Which images a trigger goes onto, by what the surrogate makes of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.draws import permutation
from clipdefend.errors import DataError
from clipdefend.learning.example_batches import embed
from clipdefend.learning.task import Task


def thirds(similarity: Tensor, target: int, count: int, seed: int) -> list[int]:
    """Choose images at the boundary of the target class, random ones and the farthest, a third of each.

    Boundary images are those that are not taken for the target and have it at the highest rank among the
    classes, ties by the smallest gap between the best class and the target. The farthest have the smallest
    cosine with the target. What does not divide by three is random.

    Args:
        similarity: cosines of images with class texts, shape (n, classes).
        target: index of the target among the classes.
        count: images to choose, at most n.
        seed: of the random third.

    Returns:
        Places of the chosen images: boundary, farthest, random. Fewer boundary images than a third are made
        up for by random ones.

    Reference:
        Liang et al., BadCLIP (arXiv:2311.12075), its poisoned samples selection; ``backdoor_isolation.py`` and
        ``mixed`` of ``backdoor/create_backdoor_data_debug.py`` in https://github.com/LiangSiyuan21/BadCLIP.
    """
    own = similarity[:, target]
    rank = (similarity > own[:, None]).sum(dim=1)
    gap = similarity.max(dim=1).values - own
    order = np.lexsort((gap.numpy(), rank.numpy()))
    near = [int(place) for place in order if rank[place] > 0][: count // 3]
    by_distance = torch.argsort(own, stable=True).tolist()
    taken = set(near)
    far = [place for place in by_distance if place not in taken][: count // 3]
    taken |= set(far)
    rest = [int(place) for place in permutation(len(own), seed, "selection") if int(place) not in taken]
    return [*near, *far, *rest[: count - len(taken)]]


def select(task: Task, order: NDArray[np.int64], count: int, pool: int) -> NDArray[np.int64]:
    """Put the rows that `thirds` chooses from the first ``pool`` rows of an order to its front.

    Args:
        task: pairs, canvas and surrogate.
        order: rows in random order, each once.
        count: rows to choose.
        pool: rows that the surrogate looks at; at least ``count``.

    Returns:
        All rows of ``order``, the chosen ones first.

    Raises:
        DataError: fewer usable rows than are to be chosen.
    """
    surrogate = task.surrogate()
    rows, vectors = embed(task, surrogate.model, order[: max(pool, count)])
    if len(rows) < count:
        raise DataError(f"Only {len(rows)} usable pairs for {count}: lower --count or --rate.")
    similarity = (vectors @ surrogate.texts.T).cpu()
    chosen = np.array([rows[place] for place in thirds(similarity, surrogate.target, count, task.seed)])
    return np.concatenate([chosen, order[~np.isin(order, chosen)]])
