"""Deep clustering: images are classified into clusters of themselves, or into given classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.data.classes import SIMPLE_TEMPLATES, load_classes
from clipdefend.data.row_labels import read_row_labels
from clipdefend.defences.composed_defence import ComposedDefence
from clipdefend.defences.defence import Course, Phase, TrainingData
from clipdefend.draws import generator
from clipdefend.errors import ConfigError
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.losses import check_choice, check_positive
from clipdefend.models.clip import ClipModel, evaluating
from clipdefend.models.load import default_weights, load_model
from clipdefend.objectives.objective import Objective
from clipdefend.objectives.term import Embeddings, Term

Assignment = Literal["nearest", "stored"]


@dataclass(frozen=True, kw_only=True)
class Classify(Term):
    """Cross-entropy of a linear head on the image embeddings, with labels that the course hands out."""

    image_views = ("clean",)
    text_views = ()

    def loss(self, e: Embeddings) -> Tensor:
        image = e.image["clean"]
        labels = e.extra["labels"]
        if labels is None:
            labels = (image.detach() @ e.extra["centroids"].T).argmax(dim=1)
        return F.cross_entropy(F.linear(image, e.extra["weight"], e.extra["bias"]), labels)


def spherical_kmeans(vectors: NDArray[np.float32], start: NDArray[np.float32], iterations: int) -> Any:
    """Centroids of unit vectors by cosine: each step is one of scikit-learn's, then centroids become unit vectors.

    For unit vectors and unit centroids the nearest by Euclidean distance is the nearest by cosine.

    Args:
        vectors: shape (n, d).
        start: centroids to begin with, unit vectors, shape (k, d), k <= n.
        iterations: steps, at least 1.

    Returns:
        Centroids, unit vectors, shape (k, d), and the centroid of each vector, shape (n,).
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    centroids = start
    # Threads add up in an order of their own, and so to other last bits.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal images, which share a cluster
        for _ in range(iterations):
            step = KMeans(len(start), init=centroids, n_init=1, max_iter=1).fit(vectors)
            centroids = step.cluster_centers_
            centroids = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
        return centroids, (vectors @ centroids.T).argmax(axis=1)


class Clusters(Course):
    """The head, and what it is to predict.

    Args:
        rows: number of pairs.
        width: of the embeddings.
        classes: number of labels.
        defence: the parameters.
        given: labels of the rows, shape (rows,); None: not known yet.
        labeller: model and class names that label the rows in the first epoch; None: k-means in each epoch.
    """

    no_decay = ("weight",)

    def __init__(
        self,
        rows: int,
        width: int,
        classes: int,
        defence: DeepClustering,
        given: Tensor | None = None,
        labeller: tuple[ClipModel, Sequence[str], Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.defence, self.fixed = defence, given is not None or labeller is not None
        # Not a submodule: its weights are not this run's.
        self._labeller = [labeller] if labeller is not None else []
        self.weight = nn.Parameter(torch.empty(classes, width).normal_(std=0.01))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64) if given is None else given)
        self.register_buffer("centroids", torch.zeros(0 if self.fixed else classes, width))

    def begin_epoch(self, model: ClipModel, data: TrainingData, epoch: int, phase: Phase) -> None:
        if self._labeller and epoch == 0:
            self.labels = _zero_shot(*self._labeller.pop(), data).to(self.weight.device)
        if self.fixed:
            return
        images, _ = data.embed(model)
        vectors = images.float().cpu().numpy()
        chosen = generator(data.seed, "clusters", epoch).permutation(len(vectors))[: len(self.bias)]
        centroids, labels = spherical_kmeans(vectors, vectors[np.sort(chosen)], self.defence.iterations)
        self.centroids = torch.from_numpy(centroids).to(self.weight)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(self.weight.device)
        with torch.no_grad():
            self.weight.normal_(std=0.01)
            self.bias.zero_()

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        moving = not self.fixed and self.defence.assignment == "nearest"
        labels = None if moving or "main" not in rows else self.labels[rows["main"]]
        return {"weight": self.weight, "bias": self.bias, "labels": labels, "centroids": self.centroids}


@torch.no_grad()
def _zero_shot(
    model: ClipModel, classes: Sequence[str], templates: Sequence[str], data: TrainingData
) -> Tensor:
    """The nearest class text of each image, shape (rows,)."""
    canvas = Canvas(model.image_size, data.canvas.mode, model.architecture.interpolation)
    images, _ = data.embed(model, canvas=canvas)
    with evaluating(model):
        texts = class_embeddings(model, classes, templates)
    return (images @ texts.float().T).argmax(dim=1)


@dataclass(frozen=True, kw_only=True)
class DeepClustering(ComposedDefence):
    """Images are classified into clusters of their own embeddings, beside a method's terms.

    Each epoch begins with spherical k-means over the embeddings of all pairs and a new head, a linear layer with
    weights from N(0, 0.01^2). L = the method's terms + weight * CE(head(image), cluster). With ``labels`` or
    ``label_model`` the classes are given instead (the paper's pseudo-labels), and one head serves all epochs.

    Attributes:
        method, terms: what is trained beside; see ``ComposedDefence``.
        weight: of the cross-entropy.
        clusters: their number; where there are fewer pairs, each pair is one.
        iterations: steps of k-means.
        assignment: ``nearest``: the label is the centroid nearest to the embedding as it moves in training, as in the
            paper's code; ``stored``: that of the epoch's beginning, as in DeepCluster.
        labels: CSV with the columns ``image`` (as the pairs name it) or ``id`` (row number of the pairs as they are
            trained on, from 0) and ``label`` (any text).
        label_model: open_clip model whose zero-shot classes are the labels; any form that ``--model`` takes.
        label_pretrained: its weights.
        label_classes: class names: ``imagenet`` or a file.

    Reference: Caron et al. 2018 (arXiv:1807.05520); as a defence Verma et al. 2025 (arXiv:2311.14948), with 1,000
    clusters, 20 iterations and weight 5, at a learning rate of 1e-4 for 10 epochs.
    Deviates: works for embeddings of any width, where the code asserts 1,024; centroids begin at rows that the seed
    draws; AdamW's moments of the head go on when its weights are drawn anew. Pseudo-labels are read from the file that
    is given; the code writes one file and reads another.
    """

    weight: float = 5.0
    clusters: int = 1000
    iterations: int = 20
    assignment: Assignment = "nearest"
    labels: str | None = None
    label_model: str | None = None
    label_pretrained: str | None = None
    label_classes: str = "imagenet"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("assignment", self.assignment, Assignment)
        check_positive(weight=self.weight)
        for name in ("clusters", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.labels is not None and self.label_model is not None:
            raise ValueError(
                "labels and label_model exclude each other: labels come from a file or from a model"
            )
        if "cluster" in self.terms:
            raise ValueError("terms.cluster is not a term of the method: set defence.weight")

    def phases(self, train: TrainConfig, rows: int) -> Sequence[Phase]:
        terms = {**self.objective.terms, "cluster": Classify(weight=self.weight)}
        return [Phase(objective=Objective(terms))]

    def prepare(self, model: ClipModel, data: TrainingData) -> Course:
        rows, width = len(data.pairs), int(model.architecture.model["embed_dim"])
        if self.labels is not None:
            given, names = read_row_labels(Path(self.labels), data.pairs)
            return Clusters(rows, width, len(names), self, given=torch.from_numpy(given))
        if self.label_model is not None:
            classes = load_classes(self.label_classes)
            names = classes.classes or []
            weights = self.label_pretrained or default_weights(self.label_model)
            other = load_model(self.label_model, weights).requires_grad_(False).to(model.device)
            labeller = (other, names, classes.templates or list(SIMPLE_TEMPLATES))
            return Clusters(rows, width, len(names), self, labeller=labeller)
        if rows < 2:
            raise ConfigError(f"Clusters need at least 2 pairs; given: {rows}.")
        return Clusters(rows, width, min(self.clusters, rows), self)
