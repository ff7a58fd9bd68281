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


def test_given_class_names_go_by_the_names_of_the_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {"a": [1], "b": [2]})
    (tmp_path / "order.txt").write_text("apple\nball\n")
    with pytest.raises(DataError, match=r"'a' is not among the class names.*JSON object of folder: name"):
        open_labelled(str(root), class_names=tmp_path / "order.txt")
    (tmp_path / "map.json").write_text(json.dumps({"b": "ball", "a": "apple", "c": "cup"}))
    assert seen(open_labelled(str(root), class_names=tmp_path / "map.json")) == [("apple", 1), ("ball", 2)]
    (tmp_path / "all.json").write_text(
        json.dumps({"classes": ["z", "B", "y", "a"], "templates": ["the {c}"]})
    )
    images = open_labelled(str(root), class_names=tmp_path / "all.json")
    assert images.labels.tolist() == [3, 1]
    assert images.templates == ["the {}"]
    assert "folders by name; class names from all.json: a list of names, 'z' to 'a'" in images.recognised
    (tmp_path / "few.txt").write_text("x\ny\nz\n")
    with pytest.raises(DataError, match=r"3 class names were given .* has 2 classes"):
        open_labelled(str(root), class_names=tmp_path / "few.txt")


@pytest.mark.parametrize("folder", ["{}", "{:03d}", "class_{}"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbered_folders_are_indices(folder: str, first: int, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {folder.format(n + first): [n] for n in range(12)})
    (tmp_path / "names.txt").write_text("".join(f"thing {chr(ord('z') - n)}\n" for n in range(12)))
    images = open_labelled(str(root), class_names=tmp_path / "names.txt")
    assert sorted(seen(images)) == sorted((f"thing {chr(ord('z') - n)}", n) for n in range(12))
    assert "folders by the number in their names" in images.recognised


def test_numbered_folders_that_are_not_certain(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eval", {"0": [0], "1": [1]})
    with pytest.raises(DataError, match=r"named by numbers.*--class-names FILE"):
        open_labelled(str(root))
    (tmp_path / "names.txt").write_text("\n".join("abcd"))
    assert open_labelled(str(root), class_names=tmp_path / "names.txt").labels.tolist() == [0, 1]
    other = class_folders(tmp_path / "other", {"1": [0], "2": [1]})
    with pytest.raises(DataError, match=r"numbered folders from 1 to 2, and 4 class names"):
        open_labelled(str(other), class_names=tmp_path / "names.txt")
    (tmp_path / "digits.txt").write_text("0\n1\n2\n")
    assert seen(open_labelled(str(other), class_names=tmp_path / "digits.txt")) == [("1", 0), ("2", 1)]


def test_imagenet_by_wordnet_id_and_by_index(tmp_path: Path) -> None:
    some = class_folders(tmp_path / "some", {"n07753592": [5], "n01440764": [6]})
    images = open_labelled(str(some))
    assert seen(images) == [("tench", 6), ("banana", 5)]
    assert len(images.classes) == 2
    assert len(images.templates or []) == 80
    assert "ImageNet's names by WordNet id" in images.recognised
    assert seen(open_labelled(str(some), class_names="imagenet")) == [("tench", 6), ("banana", 5)]
    v2 = tmp_path / "v2"
    for number in range(1000):
        (v2 / str(number)).mkdir(parents=True)
    (v2 / "954" / "x.jpeg").write_bytes(numbered(7))
    images = open_labelled(str(v2))
    assert seen(images) == [("banana", 7)]
    assert "as in ImageNetV2" in images.recognised
    class_folders(some, {"n00000000": [1]})
    with pytest.raises(DataError, match=r"'n00000000' is not one of ImageNet's 1,000.*--class-names"):
        open_labelled(str(some))
    dogs = class_folders(tmp_path / "dogs", {"n02085620-Chihuahua": [1], "n02085782-Japanese_spaniel": [2]})
    assert open_labelled(str(dogs)).classes == ["Chihuahua", "Japanese spaniel"]


def tiny_imagenet(root: Path) -> Path:
    (root / "train" / "n07753592" / "images").mkdir(parents=True)
    (root / "train" / "n07753592" / "images" / "n07753592_0.JPEG").write_bytes(numbered(1))
    (root / "train" / "n07753592" / "n07753592_boxes.txt").touch()
    (root / "train" / "n99999999" / "images").mkdir(parents=True)
    (root / "train" / "n99999999" / "images" / "n99999999_0.JPEG").write_bytes(numbered(2))
    (root / "val" / "images").mkdir(parents=True)
    (root / "test" / "images").mkdir(parents=True)
    for number in range(3):
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(numbered(number))
    (root / "wnids.txt").write_text("n99999999\nn07753592\n")
    (root / "words.txt").write_text("n99999999\tsome gadget, gizmo\nn07753592\tbanana\nn00000001\tentity\n")
    rows = [f"val_{n}.JPEG\t{key}\t0\t32\t44\t62\n" for n, key in enumerate(["n99999999", "n07753592"])]
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    return root


def test_tiny_imagenet(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    for spec, split in ((root, None), (root, "val"), (root / "val", None)):
        images = open_labelled(str(spec), split=split)
        assert seen(images) == [("some gadget", 0), ("banana", 1)]
        assert images.classes == ["banana", "some gadget"]
        assert images.skip_reasons == ["val_2.JPEG: is not in val_annotations.txt"]
        assert "TinyImageNet, split 'val'" in images.recognised
    for spec, split in ((root, "train"), (root / "train", None)):
        images = open_labelled(str(spec), split=split)
        assert seen(images) == [("banana", 1), ("some gadget", 2)]
        assert images.skipped == 0
    with pytest.raises(DataError, match=r"TinyImageNet.*labels for its splits train and val, not for 'test'"):
        open_labelled(str(root), split="test")


def test_flat_imagenet(tmp_path: Path) -> None:
    root = tmp_path / "val"
    root.mkdir()
    for number in (1, 2):
        (root / f"ILSVRC2012_val_0000000{number}.JPEG").write_bytes(numbered(number))
    with pytest.raises(DataError, match="lie flat, without their classes"):
        open_labelled(str(root))
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n361\n")
    with pytest.raises(DataError, match="not the usual indices: give 'torchvision:imagenet'"):
        open_labelled(str(root))
    names = [f"ILSVRC2012_val_0000000{number}" for number in (2, 1, 3)]
    answers = {
        "val.txt": f"{names[0]}.JPEG 954\n{names[1]}.JPEG 0\n{names[2]}.JPEG 5\n",
        "LOC_val_solution.csv": f"ImageId,PredictionString\n{names[0]},n07753592 1 2 3 4 \n"
        f"{names[1]},n01440764 9 9 9 9 n01440764 8 8 8 8 \n{names[2]},n01440764 1 1 1 1 \n",
    }
    for name, text in answers.items():
        (tmp_path / name).write_text(text)
        images = open_labelled(str(root))
        assert seen(images) == [("banana", 2), ("tench", 1)]
        assert images.skipped == 1
        assert len(images.classes) == 1000
        (tmp_path / name).unlink()


def test_the_tree_of_ilsvrc(tmp_path: Path) -> None:
    data = tmp_path / "set" / "ILSVRC" / "Data" / "CLS-LOC"
    (data / "val").mkdir(parents=True)
    (data / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(numbered(1))
    class_folders(data / "train", {"n07753592": [4]})
    (tmp_path / "set" / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4 \n"
    )
    assert seen(open_labelled(str(tmp_path / "set"))) == [("tench", 1)]
    assert seen(open_labelled(str(tmp_path / "set"), split="train")) == [("banana", 4)]


def test_splits_are_subfolders(tmp_path: Path) -> None:
    root = tmp_path / "set"
    class_folders(root / "train", {"a": [1]})
    class_folders(root / "val", {"a": [2]})
    assert seen(open_labelled(str(root), split="val")) == [("a", 2)]
    with pytest.raises(
        DataError, match=r"'train', 'val', which are not classes: name a split with --eval-split"
    ):
        open_labelled(str(root))
    with pytest.raises(DataError, match=r"no split 'test'.*'train', 'val'"):
        open_labelled(str(root), split="test")


def test_what_lies_elsewhere_or_cannot_be_read_is_counted(tmp_path: Path) -> None:
    root = class_folders(
        tmp_path / "eval", {"cat": [1], "dog": [2], "__MACOSX": [3], ".ipynb_checkpoints": [4]}
    )
    for name in (
        "stray.png",
        "cat/deep/er.png",
        "cat/photo.heic",
        "dog/noending",
        "dog/boxes.txt",
        "dog/._2.png",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(numbered(9))
    images = open_labelled(str(root))
    assert seen(images) == [("cat", 1), ("dog", 2)]
    assert sorted(reason.split(":")[0] for reason in images.skip_reasons) == [
        "cat/deep/er.png",
        "cat/photo.heic",
        "dog/noending",
        "stray.png",
    ]


def test_links_are_followed_inside_the_folders_that_are_allowed(tmp_path: Path) -> None:
    store = class_folders(tmp_path / "store", {"cat": [1]})
    root = class_folders(tmp_path / "eval", {"dog": [2]})
    (root / "dog" / "linked.png").symlink_to(root / "dog" / "2.png")
    (root / "cat").symlink_to(store / "cat")
    (root / "dog" / "back").symlink_to(root)
    with pytest.raises(DataError, match=r"cat' is a link that leads outside.*--eval-root"):
        open_labelled(str(root))
    assert seen(open_labelled(str(root), root=store)) == [("cat", 1), ("dog", 2), ("dog", 2)]
    (tmp_path / "named").symlink_to(root)
    assert seen(open_labelled(str(tmp_path / "named"), root=store)) == [("cat", 1), ("dog", 2), ("dog", 2)]


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

    def split(name: str) -> FakeSplit:
        names.append(name)
        return FakeSplit()

    monkeypatch.setattr(world, "split", split)
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
