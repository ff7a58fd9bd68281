"""torchvision's data sets, each on a small fixture in its own layout on disk; nothing is downloaded."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.data.labelled.probe_splits import open_splits
from clipdefend.data.labelled.torchvision_sets import SETS, probe_splits, qualify_set_name
from clipdefend.errors import DataError
from data_samples import number_of, numbered


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def put(root: Path, name: str, number: int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(numbered(number))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.arange(2 * 3072, dtype=np.uint32).reshape(2, 3072) % 256
    batch = {"data": pixels.astype(np.uint8), "labels": [1, 0]}
    (folder / "test_batch").write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "pick_up"]}))
    cifar = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": md5(folder / "batches.meta")})
    return folder


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar10(tmp_path, monkeypatch)
    images = open_labelled("torchvision:cifar10", root=tmp_path)
    assert images.classes == ["airplane", "pick up"]
    assert images.labels.tolist() == [1, 0]
    assert images.image(0).mode == "RGB"
    assert images.image(0).getpixel((1, 0)) == (1, (1024 + 1) % 256, (2048 + 1) % 256)
    assert len(images.templates or []) == 18
    assert images.spec == "torchvision:cifar10"


def make_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pickle a split, fine labels, 100 names in ``meta``."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    names = [f"thing_{number}" for number in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    cifar = torchvision.datasets.CIFAR100
    for split, first in (("train", 10), ("test", 20)):
        pixels = np.full((3, 3072), first, np.uint8)
        batch = {"data": pixels, "fine_labels": [first, 99, 0], "coarse_labels": [0, 1, 2]}
        (folder / split).write_bytes(pickle.dumps(batch))
        monkeypatch.setattr(cifar, f"{split}_list", [[split, md5(folder / split)]])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": md5(folder / "meta")})


def test_cifar100_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar100(tmp_path, monkeypatch)
    for split, first in (("train", 10), ("test", 20)):
        images = open_labelled("torchvision:CIFAR-100", root=tmp_path, split=split)
        assert images.labels.tolist() == [first, 99, 0]
        assert images.classes[99] == "thing 99"
        assert images.image(1).getpixel((31, 31)) == (first,) * 3
        assert len(images.templates or []) == 18


def test_pickles_other_than_the_published_ones_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_cifar10(tmp_path, monkeypatch)
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (open, (str(mark), "w"))

    (folder / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"torchvision:cifar10 .* cannot be read"):
        open_labelled("torchvision:cifar10", root=tmp_path)
    assert not mark.exists()


def make_dtd(root: Path) -> None:
    put(root, "dtd/dtd/images/banded/banded_0001.jpg", 1)
    put(root, "dtd/dtd/images/polka-dotted/polka-dotted_0002.jpg", 2)
    lists = root / "dtd/dtd/labels"
    lists.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (lists / f"{split}1.txt").write_text("polka-dotted/polka-dotted_0002.jpg\nbanded/banded_0001.jpg\n")


def make_food(root: Path) -> None:
    import json

    put(root, "food-101/images/apple_pie/1.jpg", 1)
    put(root, "food-101/images/ramen/2.jpg", 2)
    (root / "food-101/meta").mkdir()
    for split in ("train", "test"):
        (root / f"food-101/meta/{split}.json").write_text(
            json.dumps({"apple_pie": ["apple_pie/1"], "ramen": ["ramen/2"]})
        )


def make_pets(root: Path) -> None:
    put(root, "oxford-iiit-pet/images/Abyssinian_1.jpg", 1)
    put(root, "oxford-iiit-pet/images/great_pyrenees_2.jpg", 2)
    (root / "oxford-iiit-pet/annotations").mkdir()
    for split in ("trainval", "test"):
        text = "Abyssinian_1 1 1 1\ngreat_pyrenees_2 2 2 1\n"
        (root / f"oxford-iiit-pet/annotations/{split}.txt").write_text(text)


def make_sst2(root: Path) -> None:
    for split in ("train", "valid", "test"):
        put(root, f"rendered-sst2/{split}/negative/1.png", 1)
        put(root, f"rendered-sst2/{split}/positive/2.png", 2)


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("dtd", make_dtd, {1: "banded", 2: "polka-dotted"}),
        ("food101", make_food, {1: "apple pie", 2: "ramen"}),
        ("oxfordiiitpet", make_pets, {1: "Abyssinian", 2: "Great Pyrenees"}),
        ("renderedsst2", make_sst2, {1: "negative", 2: "positive"}),
    ],
)
def test_sets_of_files(name: str, make: object, expected: dict[int, str], tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    for split in SETS[name].splits:
        images = pickle.loads(pickle.dumps(open_labelled(f"torchvision:{name}", root=tmp_path, split=split)))
        rows = {number_of(images.image(row)): images.classes[images.label(row)] for row in range(len(images))}
        assert rows == expected
        assert images.templates
        assert all("{}" in template for template in images.templates)


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.zeros((2, 3, 96, 96), np.uint8)
    pixels[1, 0, 5, 3] = 200  # stored column by column: x = 5, y = 3
    pixels.tofile(folder / "test_X.bin")
    np.array([2, 1], np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    stl = torchvision.datasets.STL10
    monkeypatch.setattr(stl, "train_list", [])
    files = [[name, md5(folder / name)] for name in ("test_X.bin", "test_y.bin")]
    monkeypatch.setattr(stl, "test_list", files)
    images = open_labelled("torchvision:STL-10", root=tmp_path)
    assert [images.classes[label] for label in images.labels] == ["bird", "airplane"]
    assert images.image(1).getpixel((5, 3)) == (200, 0, 0)


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    pixels = np.zeros((32, 32, 3, 2), np.uint8)
    pixels[4, 7, 1, 1] = 99
    scipy_io.savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[3], [10]])})
    published = torchvision.datasets.SVHN.split_list["test"]
    entry = [published[0], "test_32x32.mat", md5(tmp_path / "test_32x32.mat")]
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "test", entry)
    images = open_labelled("torchvision:svhn", root=tmp_path)
    assert [images.classes[label] for label in images.labels] == ["3", "0"]
    assert images.image(1).getpixel((7, 4)) == (0, 99, 0)


def test_imagenet(tmp_path: Path) -> None:
    import torch

    wnids = [f"n{number:08d}" for number in range(1000)]
    for wnid in wnids:
        put(tmp_path, f"val/{wnid}/x.JPEG", int(wnid[1:]))
    torch.save(({wnid: (f"name {wnid}",) for wnid in wnids}, []), tmp_path / "meta.bin")
    images = open_labelled("torchvision:imagenet", root=tmp_path)
    assert len(images) == 1000
    assert images.classes[954] == "banana"
    assert number_of(images.image(954)) == 954
    assert images.image_ref(954) == "n00000954/x.JPEG"
    assert len(images.templates or []) == 80


def test_damaged_files_are_image_errors(tmp_path: Path) -> None:
    make_dtd(tmp_path)
    (tmp_path / "dtd/dtd/images/banded/banded_0001.jpg").write_bytes(b"")
    images = open_labelled("torchvision:dtd", root=tmp_path)
    with pytest.raises(DataError, match=r"image 'banded/banded_0001.jpg': the file is empty"):
        images.image(1)


@pytest.mark.parametrize("name", list(SETS))
def test_what_is_missing_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs --eval-root FOLDER, the folder that contains"):
        open_labelled(f"torchvision:{name}")
    with pytest.raises(DataError, match="is not a folder"):
        open_labelled(f"torchvision:{name}", root=tmp_path / "absent")
    with pytest.raises(
        DataError, match=r"cannot be read from .* must contain .*: .*Nothing is downloaded"
    ) as caught:
        open_labelled(f"torchvision:{name}", root=tmp_path)
    assert "download=True" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="has no split 'everything'; it has"):
        open_labelled(f"torchvision:{name}", root=tmp_path, split="everything")


@pytest.mark.parametrize(
    ("name", "module"),
    [("dtd", "dtd"), ("food101", "food101"), ("oxfordiiitpet", "oxford_iiit_pet"), ("stl10", "stl10")],
)
def test_fetching_is_torchvisions_and_only_when_asked_for(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refused(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise RuntimeError("no network here")

    monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", refused)
    with pytest.raises(DataError, match="Nothing is downloaded without --download"):
        open_labelled(f"torchvision:{name}", root=tmp_path)
    assert not asked
    with pytest.raises(DataError, match=r"no network here\. Downloading failed"):
        open_labelled(f"torchvision:{name}", root=tmp_path / "new", download=True)
    assert asked


@pytest.mark.parametrize(("name", "make"), [("dtd", make_dtd), ("renderedsst2", make_sst2)])
def test_a_probe_takes_the_sets_own_splits(name: str, make: object, tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    found = open_splits(f"torchvision:{name}", root=tmp_path)
    for part, split in ((found.train, "train"), (found.validation, "val"), (found.test, "test")):
        assert f"split {split!r}" in part.images.recognised
        assert sorted(part.labels.tolist()) == [0, 1]


def test_probe_splits_of_all_sets() -> None:
    for name in SETS:
        splits = probe_splits(name)
        assert splits["train"] in SETS[name].splits
        assert splits["test"] == ("val" if name == "imagenet" else "test")
        assert (splits["validation"] == "val") == (name in ("dtd", "renderedsst2"))


def test_imagenet_is_never_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ImageNet's owners do not allow it"):
        open_labelled("torchvision:ImageNet1K", root=tmp_path, download=True)


def test_names_as_papers_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    papers = [
        "CIFAR10",
        "CIFAR100",
        "ImageNet1K",
        "DTD",
        "STL10",
        "SVHN",
        "Food101",
        "OxfordIIITPet",
        "RenderedSST2",
    ]
    assert {qualify_set_name(name).removeprefix("torchvision:") for name in papers} == set(SETS)
    assert qualify_set_name("builtin") == "builtin"
    (tmp_path / "DTD").mkdir()  # a folder of one's own comes first
    assert qualify_set_name("DTD") == "DTD"


@pytest.mark.parametrize("name", ["cifar", "", "os.system", "__class__", "CIFAR10.__init__"])
def test_unknown_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Unknown data set .* Known: cifar10"):
        open_labelled(f"torchvision:{name}", root=tmp_path)


def test_class_names_of_another_number(tmp_path: Path) -> None:
    make_sst2(tmp_path)
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "two.txt").write_text("bad\ngood\n")
    assert open_labelled(
        "torchvision:renderedsst2", root=tmp_path, class_names=tmp_path / "two.txt"
    ).classes == ["bad", "good"]
    with pytest.raises(DataError, match="3 class names were given"):
        open_labelled("torchvision:renderedsst2", root=tmp_path, class_names=tmp_path / "three.txt")
    assert isinstance(open_labelled("torchvision:renderedsst2", root=tmp_path).image(0), Image.Image)
