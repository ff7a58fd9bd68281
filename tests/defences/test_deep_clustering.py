"""Deep clustering: k-means by hand, the loss by a double loop, labels from files and models, resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipdefend.data.row_labels import read_row_labels
from clipdefend.defences.build_defence import build_defence
from clipdefend.defences.deep_clustering import Classify, DeepClustering, spherical_kmeans
from clipdefend.errors import ConfigError, DataError, Interrupted
from clipdefend.models.builder import build_model
from clipdefend.objectives.term import Embeddings
from memory_pairs import memory_pairs
from small_clip import small_architecture
from training_jobs import ROWS, Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_spherical_kmeans_by_hand() -> None:
    """Points at 0, 10, 20 and 90, 100 degrees: means of directions, whose centroids stay on the circle."""
    vectors = on_circle(0, 10, 20, 90, 100)
    # From 0 and 20: first {0, 10 -> the nearer by a tie at 10}, then the groups by hand.
    centroids, labels = spherical_kmeans(vectors, on_circle(0, 100), 3)
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert np.allclose(centroids, on_circle(10, 95), atol=1e-6)
    # One step from 0 and 40: 0, 10 and the tie at 20 apart from the rest; the second is the direction of a sum.
    centroids, labels = spherical_kmeans(vectors, on_circle(0, 45), 1)
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert np.allclose(centroids, on_circle(10, 95), atol=1e-6)
    # A plain mean of 90 and 180 degrees is shorter than 1; the centroid is not.
    centroids, _ = spherical_kmeans(on_circle(0, 90, 180), on_circle(0, 120), 1)
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1)
    assert np.allclose(centroids[1], on_circle(135)[0], atol=1e-6)


def test_cross_entropy_by_a_double_loop() -> None:
    draw = torch.Generator().manual_seed(3)
    image = torch.nn.functional.normalize(torch.randn(5, 4, generator=draw, dtype=torch.float64), dim=1)
    weight = torch.randn(3, 4, generator=draw, dtype=torch.float64)
    bias = torch.randn(3, generator=draw, dtype=torch.float64)
    centroids = torch.eye(4, dtype=torch.float64)[:3]
    shared = {"weight": weight, "bias": bias, "centroids": centroids}

    def by_hand(labels: list[int]) -> float:
        total = 0.0
        for i in range(5):
            logits = [
                sum(float(weight[k, d] * image[i, d]) for d in range(4)) + float(bias[k]) for k in range(3)
            ]
            total -= logits[labels[i]] - math.log(sum(math.exp(x) for x in logits))
        return total / 5

    def loss(labels: torch.Tensor | None) -> float:
        e = Embeddings({"clean": image}, {}, torch.ones(()), extra={**shared, "labels": labels})
        return float(Classify().loss(e))

    assert loss(torch.tensor([0, 2, 1, 1, 0])) == pytest.approx(by_hand([0, 2, 1, 1, 0]), abs=1e-12)
    nearest = [max(range(3), key=lambda k: float(image[i, k])) for i in range(5)]
    assert loss(None) == pytest.approx(by_hand(nearest), abs=1e-12)


def test_clusters_and_head_are_made_anew_in_each_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(make_job(tmp_path, defence=DeepClustering(clusters=4), eval_every=0))
    course: Any = trainer.stepper.course
    made: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = course.begin_epoch

    def begin(*given: Any) -> None:
        before = course.weight.detach().clone()
        real(*given)
        made.append((course.labels.clone(), course.centroids.clone()))
        assert not torch.equal(before, course.weight)
        assert course.weight.std().item() == pytest.approx(0.01, rel=0.4)
        assert not course.bias.any()

    course.begin_epoch = begin
    trainer.run()
    assert [set(labels.tolist()) for labels, _ in made] == [{0, 1, 2, 3}] * 2
    assert not torch.equal(made[0][1], made[1][1])
    # The paper's weight, and the head takes no decay.
    step = log_of(tmp_path)[0]
    assert step["loss"] == pytest.approx(step["mmcl"] + step["ssl"] + 5 * step["cluster"], rel=1e-5)
    assert step["cluster"] == pytest.approx(math.log(4), abs=0.05)
    groups = trainer.stepper.optimizer.param_groups
    (group,) = [g for g in groups if any(p is course.weight for p in g["params"])]
    assert group["weight_decay"] == 0


@pytest.mark.parametrize("assignment", ["nearest", "stored"])
def test_a_run_resumes_to_the_same_bytes(tmp_path: Path, assignment: Any) -> None:
    defence = DeepClustering(clusters=4, method="ft", assignment=assignment)
    whole = train(tmp_path / "whole", defence=defence)
    for at in (3, 7):
        with pytest.raises(Interrupted):
            train(tmp_path / "stopped", Watcher(at, interrupt), defence=defence, save_every=2)
    again = train(tmp_path / "stopped", defence=defence, save_every=2)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")
    assert equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    assert equal(dict(again.stepper.course.state_dict()), dict(whole.stepper.course.state_dict()))


def test_the_two_assignments_differ_once_the_embeddings_have_moved(tmp_path: Path) -> None:
    for name in ("nearest", "stored"):
        defence = build_defence("deep-clustering", None, {"clusters": 4, "method": "ft", "assignment": name})
        train(tmp_path / name, defence=defence, lr=1e-2, eval_every=0, batch_norm="eval")
    nearest, stored = ([each["cluster"] for each in log_of(tmp_path / n)] for n in ("nearest", "stored"))
    assert nearest[0] == pytest.approx(stored[0], rel=1e-5)
    assert nearest[4] != pytest.approx(stored[4], rel=1e-3)


def test_labels_by_image_and_by_id(tmp_path: Path) -> None:
    pairs, path = memory_pairs(4), tmp_path / "labels.csv"
    path.write_text(
        "image,label\nmemory/2.jpg,dog\nmemory/0.jpg,cat\nmemory/1.jpg,dog\nmemory/3.jpg,ape\nother.jpg,x\n"
    )
    numbers, names = read_row_labels(path, pairs)
    assert (numbers.tolist(), names) == ([1, 2, 2, 0], ["ape", "cat", "dog"])
    path.write_text("id,label\n3,7\n2,7\n1,8\n0,8\n")
    numbers, names = read_row_labels(path, pairs)
    assert (numbers.tolist(), names) == ([1, 1, 0, 0], ["7", "8"])
    for text, said in (
        ("id,label\n0,1\n2,1\n3,1\n", "no label for 1 of 4 pairs, such as row 1"),
        ("id,label\n0,1\n0,2\n", "gives '0' two labels"),
        ("id,class\n0,1\n", "label"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_row_labels(path, pairs)


def test_pseudo_labels_of_a_file_and_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,label\n" + "".join(f"{row},{row % 2}\n" for row in range(ROWS)))
    trainer = train(tmp_path / "file", defence=DeepClustering(labels=str(path), method="ft"), eval_every=0)
    course: Any = trainer.stepper.course
    assert course.labels.tolist() == [row % 2 for row in range(ROWS)]
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nhouse\n")
    defence = DeepClustering(label_model="tiny", label_classes=str(names), method="ft")
    with pytest.raises(Interrupted):
        train(tmp_path / "model", Watcher(7, interrupt), defence=defence, save_every=3, eval_every=0)
    trainer = train(tmp_path / "model", defence=defence, save_every=3, eval_every=0)
    course = trainer.stepper.course
    assert course.weight.shape == (3, 16)
    assert set(course.labels.tolist()) <= {0, 1, 2}
    assert not any("clip" in name for name, _ in course.named_parameters())
    train(tmp_path / "whole", defence=defence, eval_every=0)
    assert equal(weights(tmp_path / "model"), weights(tmp_path / "whole"))


def test_embeddings_of_any_width(tmp_path: Path) -> None:
    model = build_model(small_architecture(embed_dim=24), seed=1)
    trainer = train(tmp_path, model=model, defence=DeepClustering(clusters=3), epochs=1, eval_every=0)
    assert trainer.stepper.course.weight.shape == (3, 24)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"clusters": 0}, "clusters is 0; it must be at least 1"),
        ({"clusters": "many"}, "whole number"),
        ({"assignment": "near"}, "nearest, stored"),
        ({"weight": 0}, "above 0"),
        ({"labels": "a.csv", "label_model": "tiny"}, "exclude each other"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_defence("deep-clustering", None, parameters)
