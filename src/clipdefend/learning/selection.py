"""BadCLIP's selection of the images to poison, by their similarity to the target in the surrogate."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.draws import permutation
from clipdefend.errors import DataError
from clipdefend.learning.example_batches import embed_images
from clipdefend.learning.learning_inputs import LearningInputs


def choose_thirds(similarity: Tensor, target: int, count: int, seed: int) -> list[int]:
    """Choose images at the boundary of the target class, the farthest from it, and random ones: a third of each.

    Boundary images are not classified as the target but rank it highest among the classes; ties go to the
    smallest gap between the best class and the target. The farthest images have the smallest cosine with the
    target. The remainder of the division by three is drawn at random.

    Args:
        similarity: cosines of images with class texts, shape (n, classes).
        target: index of the target among the classes.
        count: number of images to choose, at most n.
        seed: seed of the random third.

    Returns:
        Indices of the chosen images: boundary, farthest, random. If there are fewer boundary images than a
        third, random ones take their place.

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


def select(inputs: LearningInputs, order: NDArray[np.int64], count: int, pool: int) -> NDArray[np.int64]:
    """Move the rows that `choose_thirds` picks from the first ``pool`` rows to the front of an order.

    Args:
        inputs: pairs, canvas and surrogate.
        order: rows in random order, each once.
        count: number of rows to choose.
        pool: number of rows that the surrogate embeds; ``count`` if that is larger.

    Returns:
        All rows of ``order``, the chosen ones first.

    Raises:
        DataError: there are fewer than ``count`` usable rows.
    """
    surrogate = inputs.surrogate()
    rows, vectors = embed_images(inputs, surrogate.model, order[: max(pool, count)])
    if len(rows) < count:
        raise DataError(f"Only {len(rows)} usable pairs for {count}: lower --count or --rate.")
    similarity = (vectors @ surrogate.texts.T).cpu()
    chosen = np.array(
        [rows[place] for place in choose_thirds(similarity, surrogate.target, count, inputs.seed)]
    )
    return np.concatenate([chosen, order[~np.isin(order, chosen)]])
