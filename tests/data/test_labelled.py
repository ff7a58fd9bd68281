"""Labelled images in every layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from clipdefend import world
from clipdefend.data.decode import ImageError
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.errors import DataError
from data_samples import number_of, numbered, write_tar


def class_folders(root: Path, layout: dict[str, list[int]]) -> Path:
    for name, numbers in layout.items():
        (root / name).mkdir(parents=True)
        for number in numbers:
            (root / name / f"{number}.png").write_bytes(numbered(number))
    return root


def seen(images: object) -> list[tuple[str, int]]:
    """(class name, number in the image) of every row."""
    return [
        (images.classes[images.label(row)], number_of(images.image(row)))  # type: ignore[attr-defined]
        for row in range(len(images))  # type: ignore[arg-type]
    ]


def test_a_folder_per_class(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {"red_fox": [3, 4], "dog": [1], "empty_one": []})
    (root / "notes.txt").touch()
    (root / ".hidden").mkdir()
    (root / "dog" / "Thumbs.db").touch()
    images = pickle.loads(pickle.dumps(open_labelled(str(root))))
    assert images.classes == ["dog", "empty one", "red fox"]
    assert seen(images) == [("dog", 1), ("red fox", 3), ("red fox", 4)]
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 2, 2]
    assert images.templates is None
    assert images.spec == str(root)
    assert images.image_ref(1) == "red_fox/3.png"
    assert "3 images of 3 classes" in images.recognised


def test_given_class_names_by_order_or_by_name(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {"a": [1], "b": [2]})
    (tmp_path / "order.txt").write_text("apple\nball\n")
    assert seen(open_labelled(str(root), class_names=tmp_path / "order.txt")) == [("apple", 1), ("ball", 2)]
    (tmp_path / "all.json").write_text(
        json.dumps({"classes": ["z", "B", "y", "a"], "templates": ["the {c}"]})
    )
    images = open_labelled(str(root), class_names=tmp_path / "all.json")
    assert images.labels.tolist() == [3, 1]
    assert images.templates == ["the {}"]
    (tmp_path / "few.txt").write_text("x\ny\nz\n")
    with pytest.raises(DataError, match=r"3 class names were given .* has 2 classes"):
        open_labelled(str(root), class_names=tmp_path / "few.txt")


def test_wordnet_ids(tmp_path: Path) -> None:
    root = tmp_path / "val"
    for number in range(1000):
        (root / f"n{number:08d}").mkdir(parents=True)
    (root / "n00000954" / "x.JPEG").write_bytes(numbered(5))
    images = open_labelled(str(root))
    assert seen(images) == [("banana", 5)]
    assert len(images.templates or []) == 80
    (root / "n00000000").rmdir()
    with pytest.raises(DataError, match=r"has 999 folders named by WordNet ids.*--class-names"):
        open_labelled(str(root))


def test_splits_are_subfolders(tmp_path: Path) -> None:
    root = tmp_path / "set"
    class_folders(root / "train", {"a": [1]})
    class_folders(root / "val", {"a": [2]})
    assert seen(open_labelled(str(root), split="val")) == [("a", 2)]
    with pytest.raises(DataError, match=r"has no subfolder with images.*'train', 'val'"):
        open_labelled(str(root))
    with pytest.raises(DataError, match=r"no split 'test'.*'train', 'val'"):
        open_labelled(str(root), split="test")


def test_templates_by_name_and_file(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {"a": [1]})
    assert open_labelled(str(root), templates="simple").templates == ["a photo of a {}."]
    (tmp_path / "t.txt").write_text("my {}")
    assert open_labelled(str(root), templates=tmp_path / "t.txt").templates == ["my {}"]


def test_bad_images_name_their_row(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {"a": [1]})
    (root / "a" / "2.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"Row 1 of .*eval, image 'a/2.png': not an image"):
        open_labelled(str(root)).image(1)


def cleanclip(
    folder: Path,
    rows: str,
    classes: str | None = "{'classes': ['x', 'y'], 'templates': [lambda c: f'a {c}']}",
) -> str:
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        (folder / "images" / f"{number}.png").write_bytes(numbered(number))
    (folder / "labels.csv").write_text(rows)
    if classes is not None:
        (folder / "classes.py").write_text(classes)
    return str(folder)


GOOD = "image,label\nimages/0.png,1\nimages/1.png,0\nimages/2.png,1\n"


def test_cleanclips_labels_csv(tmp_path: Path) -> None:
    spec = cleanclip(tmp_path / "val", GOOD)
    for given in (spec, f"{spec}/labels.csv"):
        images = pickle.loads(pickle.dumps(open_labelled(given)))
        assert seen(images) == [("y", 0), ("x", 1), ("y", 2)]
        assert images.templates == ["a {}"]
        assert images.image_ref(0) == "images/0.png"


def test_labels_csv_with_class_names_of_the_user(tmp_path: Path) -> None:
    spec = cleanclip(tmp_path / "val", GOOD, classes=None)
    with pytest.raises(DataError, match=r"no class names: put classes.py.*--class-names"):
        open_labelled(spec)
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    assert seen(open_labelled(spec, class_names=tmp_path / "names.txt")) == [
        ("two", 0),
        ("one", 1),
        ("two", 2),
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "image,label\nimages/0.png,1\nimages/1.png,2\n",
            r"'images/1.png' has label 2, but there are 2 class names",
        ),
        ("image,label\nimages/0.png,-1\n", "has label -1"),
        ("image,label\nimages/0.png,1\nimages/0.png,dog\n", "row 1: label 'dog' is not an integer"),
        ("image,label\nimages/0.png,\n", "row 0: label '' is not an integer"),
        ("image,label\nimages/0.png,1e3\n", "not an integer"),
        ("image,label\nimages/0.png,99999999999999999999\n", "not an integer"),
        ("image,label\n", "hold no image"),
        ("image,class\nimages/0.png,1\n", "column name label"),
        ("file,label\nimages/0.png,1\n", "column name image"),
    ],
)
def test_wrong_labels(rows: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        open_labelled(cleanclip(tmp_path / "val", rows))
    assert "\n" not in str(caught.value)


def test_labels_csv_may_not_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(numbered(9))
    images = open_labelled(cleanclip(tmp_path / "val", "image,label\n../secret.png,1\n/etc/hostname,0\n"))
    for row in range(2):
        with pytest.raises(ImageError, match="outside"):
            images.image(row)


def test_classes_py_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    code = f"{{'classes': [open({str(mark)!r}, 'w').name, 'y'], 'templates': []}}"
    with pytest.raises(DataError, match="nothing is evaluated"):
        open_labelled(cleanclip(tmp_path / "val", GOOD, classes=code))
    assert not mark.exists()


def benchmark(
    root: Path, *shards: list[tuple[str, bytes]], split: str = "test", kind: str | None = None
) -> str:
    (root / split).mkdir(parents=True)
    for number, members in enumerate(shards):
        write_tar(root / split / f"{number}.tar", members)
    (root / split / "nshards.txt").write_text(f"{len(shards)}\n")
    (root / "classnames.txt").write_text("cat\ndog\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of a {c}.\n")
    if kind:
        (root / "dataset_type.txt").write_text(kind)
    return str(root)


def labelled_sample(number: int, label: object, ending: str = "webp") -> list[tuple[str, bytes]]:
    return [(f"s{number:07d}.{ending}", numbered(number)), (f"s{number:07d}.cls", str(label).encode())]


def test_clip_benchmark_shards(tmp_path: Path) -> None:
    spec = benchmark(
        tmp_path / "wds",
        [*labelled_sample(0, 1), *labelled_sample(1, 0, "png")],
        labelled_sample(2, "1\n", "jpg"),
    )
    for given in (spec, f"{spec}/test"):
        images = pickle.loads(pickle.dumps(open_labelled(given)))
        assert seen(images) == [("dog", 0), ("cat", 1), ("dog", 2)]
        assert images.templates == ["a photo of a {}.", "art of a {}."]
        assert images.image_ref(2) == "1.tar/s0000002.jpg"
    benchmark(tmp_path / "other", labelled_sample(5, 0), split="train")
    assert seen(open_labelled(str(tmp_path / "other"), split="train")) == [("cat", 5)]


def test_incomplete_samples_of_shards_are_counted(tmp_path: Path) -> None:
    members = [*labelled_sample(0, 1), ("s1.png", numbered(1)), ("s2.cls", b"0"), *labelled_sample(3, "dog")]
    images = open_labelled(benchmark(tmp_path / "wds", members))
    assert seen(images) == [("dog", 0)]
    assert images.skipped == 3
    assert sorted(images.skip_reasons)[1:] == ["0.tar/s1: has no .cls", "0.tar/s2: has no image"]
    assert images.bad_rows(1.0).summary()["count"] == 3


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("label", "has label 2, but there are 2 class names"),
        ("count", "must hold the number of shards"),
        ("shard", "1.tar' cannot be read"),
        ("retrieval", "only classification is read"),
        ("names", "classnames.txt.*not found"),
        ("nothing", "hold no image"),
    ],
)
def test_wrong_shards(damage: str, words: str, tmp_path: Path) -> None:
    members = (
        labelled_sample(0, 2 if damage == "label" else 1) if damage != "nothing" else [("x.json", b"{}")]
    )
    root = Path(benchmark(tmp_path / "wds", members, kind="retrieval" if damage == "retrieval" else None))
    if damage == "count":
        (root / "test" / "nshards.txt").write_text("many")
    if damage == "shard":
        (root / "test" / "nshards.txt").write_text("2")
    if damage == "names":
        (root / "classnames.txt").unlink()
    with pytest.raises(DataError, match=words):
        open_labelled(str(root))


class FakeSplit:
    """Three scenes of two classes."""

    def __len__(self) -> int:
        return 3

    def label(self, row: int) -> int:
        return row % 2

    def image(self, row: int) -> object:
        from data_samples import plain

        return plain((row, 0, 0))


def test_builtin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names: list[str] = []
    monkeypatch.setattr(world, "split", lambda name: names.append(name) or FakeSplit())
    monkeypatch.setattr(world, "CLASSES", ("apple", "banana"))
    monkeypatch.setattr(world, "TEMPLATES", ("a {}",))
    images = pickle.loads(pickle.dumps(open_labelled("builtin")))
    assert images.spec == "builtin:eval"
    assert (images.classes, images.templates) == (["apple", "banana"], ["a {}"])
    assert images.labels.tolist() == [0, 1, 0]
    assert images.image(2).getpixel((0, 0)) == (2, 0, 0)
    assert images.image_ref(2) == "builtin:eval/2"
    assert set(names) == {"eval"}
    (tmp_path / "names.txt").write_text("x\ny\n")
    assert open_labelled("builtin:eval", class_names=tmp_path / "names.txt").classes == ["x", "y"]
    with pytest.raises(DataError, match="Built in are: builtin:eval"):
        open_labelled("builtin:train")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "empty"),
        ("absent", "does not exist"),
        ("s3://x/y", "Remote source"),
        ("file.bin", "not a folder"),
    ],
)
def test_sources_that_are_nothing(
    spec: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.bin").touch()
    with pytest.raises(DataError, match=words):
        open_labelled(spec)
