"""The scores of ``filter`` beside those of the published code, on the same embeddings.

    git clone https://github.com/HanxunH/Detect-CLIP-Backdoor-Samples
    git clone https://github.com/calibretaliation/LoREx
    python examples/public_scores.py Detect-CLIP-Backdoor-Samples LoREx studies/filter-victims/finetune-attack-...

The published detectors get batches of 2,048 images in random order, in which the images are each other's references;
ours get one draw of as many. It prints the AUROC of both, Spearman's correlation of their scores, how far the published
code's scores move when the images of the first batch are shuffled, and how far they are from ours there once its
deviations are put into ours. LoREx judges all images at once, with trusted ones of another part of the built-in world.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.commands.filter.judged_pairs import draw_rows, open_judged
from clipdefend.config import FilterConfig
from clipdefend.data.bad import BadRows
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.detection import PAIR_SCORES
from clipdefend.detection.curves import Curve
from clipdefend.detection.neighbours import nearest_among
from clipdefend.detection.pair_score import Basis, Embedded
from clipdefend.draws import permutation
from clipdefend.evaluation.encoding import Reading, encode
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context

BATCH, K = 2048, 16
TRUSTED = 16_384
DETECTORS = {"dao": "DAODetector", "slof": "SLOFDetector", "kdist": "KDistanceDetector", "lid": "LIDDetector"}
Scored = Callable[[Tensor], Tensor]


class Given:
    """Stands for a model: the images are their embeddings already."""

    def encode_image(self, embeddings: Tensor) -> Tensor:
        return embeddings


def published(folder: str) -> dict[str, Scored]:
    """Name -> the published score of a batch of embeddings."""
    sys.path.insert(0, folder)
    package: Any = importlib.import_module("backdoor_sample_detector")
    options = {"k": K, "compute_mode": "donot_use_mm_for_euclid_dist"}
    made = {name: getattr(package, cls)(**options) for name, cls in DETECTORS.items()}
    return {name: lambda batch, made=each: made(Given(), batch) for name, each in made.items()}  # type: ignore[misc]


def deviating(batch: Tensor) -> dict[str, Tensor]:
    """Our scores with the published code's deviations.

    The distance of neighbour k + 1 is taken for that of k. Behind the image itself, places among the others are taken
    for places among all. A reference counts itself, at a distance of 0, among its own neighbours.
    """
    places = torch.arange(len(batch))
    near = nearest_among(batch, batch, K + 1, places)
    distance = near.distance
    shifted = near.place[:, :K] - (near.place[:, :K] > places[:, None]).long()
    with_itself = torch.cat([torch.zeros(len(batch), 1, dtype=torch.float64), distance[:, :K]], dim=1)

    def dimension(sides: Tensor) -> Tensor:
        return -K / ((sides[:, :K] / sides[:, K : K + 1]) + 1e-4).log().sum(dim=1)

    ratio = distance[:, K : K + 1] / distance[shifted, K - 1]
    return {
        "dao": (dimension(with_itself)[shifted] * ratio.log()).mean(dim=1),
        "slof": ratio.mean(dim=1),
        "kdist": distance[:, K],
        "lid": dimension(distance),
    }


def auroc(scores: Tensor, poisoned: Any) -> float:
    curve = Curve.of(scores.numpy()[poisoned])
    curve.add_negatives(scores.numpy()[~poisoned])
    return curve.auroc(0, draws=1).value


def embedded(model: ClipModel, pairs: Pairs, rows: NDArray[np.int64], canvas: Canvas) -> Tensor:
    """Embeddings of images, float64, shape (n, d)."""
    parts = encode(model, pairs, rows, Reading(canvas=canvas), BadRows())
    return torch.cat([part.clean for part in parts]).double()


def published_lorex(folder: str, trusted: Tensor, images: Tensor) -> Tensor:
    """The score as the published ``main.py`` computes it."""
    sys.path.insert(0, folder)
    package: Any = importlib.import_module("utils")
    mean = trusted.mean(dim=0)
    whitening = package.compute_whitening_matrix(trusted - mean, method="cholesky", ridge=1e-3)
    whitened = (images - mean) @ whitening
    scores: Tensor = (whitened @ package.compute_backdoor_axis(whitened)).abs()
    return scores


def show(name: str, ours: Tensor, theirs: Tensor, poisoned: Any, moved: float, left: float) -> None:
    figures = (auroc(ours, poisoned), auroc(theirs, poisoned), float(spearmanr(ours, theirs)[0]), moved)
    print(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} | {left:.0e} |", flush=True)


@torch.no_grad()
def main() -> None:
    detectors, lorex, victim = sys.argv[1:4]
    judged = open_judged(FilterConfig(), Context(runs=Path("runs"), source=victim))
    model = judged.model.eval()
    images = embedded(model, judged.pairs, np.arange(len(judged.pairs)), judged.canvas)
    assert judged.truth is not None
    poisoned = np.isin(np.arange(len(images)), judged.truth.poisoned)
    batches = torch.from_numpy(permutation(len(images), 0, "batches")).split(BATCH)
    references = Embedded(rows=batches[0], image=images[batches[0]])
    whole = Embedded(rows=torch.arange(len(images)), image=images)
    first = deviating(images[batches[0]])
    print(
        "| score | AUROC, clipdefend | published | Spearman | moves by shuffling | deviations put into ours |"
    )
    print("|---|---|---|---|---|---|")
    for name, score in published(detectors).items():
        basis = Basis(references=references, sample=images)
        ours = PAIR_SCORES.build(name, {"k": K}).prepare(basis).judge(whole)
        theirs = torch.empty(len(images), dtype=torch.float64)
        for batch in batches:
            theirs[batch] = score(images[batch])
        order = torch.from_numpy(permutation(BATCH, 0, "shuffled"))
        moved = float((score(images[batches[0][order]]) - theirs[batches[0][order]]).abs().max())
        show(name, ours, theirs, poisoned, moved, float((first[name] - theirs[batches[0]]).abs().max()))
    clean = open_pairs("builtin:pretrain", cache=Path("runs/.cache"))
    trusted = embedded(model, clean, np.sort(draw_rows(clean, 0, TRUSTED)), judged.canvas)
    basis = Basis(references=references, sample=images, trusted=trusted)
    ours = PAIR_SCORES.build("lorex", {}).prepare(basis).judge(whole)
    theirs = published_lorex(lorex, trusted, images)
    order = torch.from_numpy(permutation(len(images), 0, "shuffled"))
    moved = float((published_lorex(lorex, trusted, images[order]) - theirs[order]).abs().max())
    show("lorex", ours, theirs, poisoned, moved, float((ours - theirs).abs().max()))


if __name__ == "__main__":
    main()
