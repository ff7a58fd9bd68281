"""Splits of a probe: the set's own, held out, or divided; no image twice, no class forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipdefend.data.labelled.probe_splits import divide, open_splits
from clipdefend.errors import DataError
from data_samples import numbered


def folders(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(numbered(first + number))
    return root


def refs(part: object) -> set[str]:
    return {part.images.image_ref(int(row)) for row in part.rows}  # type: ignore[attr-defined]


def test_a_set_without_splits_is_divided_class_by_class(tmp_path: Path) -> None:
    """Of ten images 3 are the test, and of the other 7 one (0.2 * 7 = 1.4) is held out."""
    root = str(folders(tmp_path / "set", {"a": 10, "b": 10}))
    found = open_splits(root)
    for part, each in ((found.train, 6), (found.validation, 1), (found.test, 3)):
        assert np.bincount(part.labels).tolist() == [each, each]
    parts = [refs(part) for part in (found.train, found.validation, found.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 20
    assert "12 train, 2 validation, 6 test" in found.how
    again, other = open_splits(root), open_splits(root, seed=1)
    assert again.test.rows.tolist() == found.test.rows.tolist()
    assert other.test.rows.tolist() != found.test.rows.tolist()


@pytest.mark.parametrize(("inside", "test"), [(("train", "test"), "test"), (("train", "val"), "val")])
def test_splits_of_a_folder(inside: tuple[str, ...], test: str, tmp_path: Path) -> None:
    for number, split in enumerate(inside):
        folders(tmp_path / split, {"a": 5, "b": 5}, 10 * number)
    found = open_splits(str(tmp_path))
    assert found.test.images.spec.endswith(test)
    assert len(found.test.rows) == 10
    assert found.train.images is found.validation.images
    assert [len(found.train.rows), len(found.validation.rows)] == [8, 2]


def test_all_three_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        folders(tmp_path / split, {"a": count, "b": count})
    found = open_splits(str(tmp_path))
    assert [len(part.rows) for part in (found.train, found.validation, found.test)] == [8, 6, 4]


def test_a_class_called_train_is_not_a_split(tmp_path: Path) -> None:
    folders(tmp_path, {"train": 5, "bus": 5})
    assert open_splits(str(tmp_path)).test.images.classes == ["bus", "train"]


def test_training_images_from_elsewhere(tmp_path: Path) -> None:
    test, train = folders(tmp_path / "t", {"a": 3, "b": 3}), folders(tmp_path / "l", {"a": 5, "b": 5})
    found = open_splits(str(test), train=str(train))
    assert len(found.test.rows) == 6
    assert len(found.train.rows) + len(found.validation.rows) == 10
    with pytest.raises(DataError, match="needs the same classes, in the same order"):
        open_splits(str(test), train=str(folders(tmp_path / "x", {"a": 5, "c": 5})))


def test_fewer_samples_keep_every_class(tmp_path: Path) -> None:
    root = folders(tmp_path / "set", {"a": 20, "b": 40})
    found = open_splits(str(root), samples=12)
    labels = np.concatenate([found.train.labels, found.validation.labels])
    assert np.bincount(labels).tolist() == [4, 8]


def test_what_is_too_small_to_probe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs training images of two classes"):
        open_splits(str(folders(tmp_path / "one", {"a": 9})))


def test_dividing_leaves_one_of_each_on_both_sides() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2])
    for share in (0.01, 0.5, 0.99):
        kept, held = divide(labels, share, 0, "x")
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(6))
        assert {0, 1} <= set(labels[kept].tolist())
        assert {0, 1} <= set(labels[held].tolist())
