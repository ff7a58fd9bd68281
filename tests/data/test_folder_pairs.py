"""Pairs from folders and from the built-in world."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipdefend import world
from clipdefend.data.builtin_pairs import BuiltinPairs
from clipdefend.data.pairs import open_pairs
from clipdefend.errors import DataError
from data_samples import number_of, numbered, plain

MakeFolder = Callable[[int], Path]


def test_metadata_beside_the_images(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(2)
    (folder / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": f"images/{n}.png", "text": f"photo {n}"}) + "\n" for n in range(2))
    )
    pairs = open_pairs(str(folder), cache=cache)
    assert pairs.captions() == ["photo 0", "photo 1"]
    assert number_of(pairs.image(1)) == 1
    assert pairs.spec == str(folder)
    (folder / "metadata.csv").write_text("file_name,text\nimages/1.png,from csv\n")
    assert open_pairs(str(folder), cache=cache).captions() == ["from csv"]


def test_metadata_parquet(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    table = pa.table({"file_name": pa.array(["images/0.png"]), "text": pa.array(["a"])})
    pq.write_table(table, folder / "metadata.parquet")
    assert open_pairs(str(folder), cache=cache).captions() == ["a"]


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        number = int("".join(filter(str.isdigit, path.stem)) or 0)
        if path.suffix == ".txt":
            path.write_text(f"photo {number}\n")
        elif path.suffix == ".json":
            path.write_text(json.dumps({"caption": f"json {number}"}))
        else:
            path.write_bytes(numbered(number))


def test_img2dataset_files_layout(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "set"
    for number in range(4):
        stem = f"0000{number // 2}/00000000{number}"
        write_files(root, f"{stem}.jpg", f"{stem}.txt", f"{stem}.json")
    write_files(
        root, "00001/000000009.png", "00001/000000009.json", "00001/000000011.jpg", "00001/000000012.txt"
    )
    write_files(root, "00001/000000013.json")
    pq.write_table(
        pa.table({"url": pa.array(["http://x"]), "caption": pa.array(["y"])}), root / "00000.parquet"
    )
    pairs = open_pairs(str(root), cache=cache)
    assert pairs.captions() == ["photo 0", "photo 1", "photo 2", "photo 3", "json 9"]
    assert [number_of(pairs.image(row)) for row in range(5)] == [0, 1, 2, 3, 9]
    assert pairs.image_ref(2) == "00001/000000002.jpg"
    assert sorted(pairs.skip_reasons) == [
        "00001/000000011: has no usable caption (.txt or .json)",
        "00001/000000012: has no image",
    ]
    assert number_of(pickle.loads(pickle.dumps(pairs)).image(4)) == 9


def test_images_and_captions_in_one_folder(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "flat"
    write_files(root, "1.jpg", "1.txt", "2.WEBP", "2.txt")
    pairs = open_pairs(str(root), cache=cache)
    assert [number_of(pairs.image(row)) for row in range(2)] == [1, 2]
    time.sleep(0.01)
    write_files(root, "3.jpg", "3.txt")
    assert open_pairs(str(root), cache=cache).captions() == ["photo 1", "photo 2", "photo 3"]


def test_captions_that_are_pipes_or_huge_do_not_stop_the_reader(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "flat"
    write_files(root, "1.jpg", "1.txt", "2.jpg", "3.jpg")
    os.mkfifo(root / "2.txt")
    with open(root / "3.txt", "wb") as file:
        file.truncate(2**30)
    pairs = open_pairs(str(root), cache=cache)
    assert pairs.captions() == ["photo 1"]
    assert pairs.skipped == 2


def test_a_link_to_an_image_outside_is_a_bad_row(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "flat"
    write_files(root, "1.jpg", "1.txt", "2.txt")
    (tmp_path / "outside.jpg").write_bytes(numbered(5))
    (root / "2.jpg").symlink_to(tmp_path / "outside.jpg")
    pairs = open_pairs(str(root), cache=cache)
    with pytest.raises(DataError, match=r"Row 1 .*outside .*--image-root"):
        pairs.image(1)
    assert number_of(open_pairs(str(root), cache=cache, image_root=tmp_path).image(1)) == 5


def test_links_to_folders_are_followed_inside_the_folders_that_are_allowed(
    tmp_path: Path, cache: Path
) -> None:
    """Captions as well as images: a link that leads elsewhere, to a whole disk maybe, is refused."""
    root, store = tmp_path / "set", tmp_path / "disk" / "part"
    write_files(root, "a/1.jpg", "a/1.txt")
    write_files(store, "2.jpg", "2.txt")
    (root / "b").symlink_to(root / "a")
    (root / "a" / "loop").symlink_to(root)
    (root / ".hidden").symlink_to(tmp_path)
    assert open_pairs(str(root), cache=cache).captions() == ["photo 1", "photo 1"]
    (root / "c").symlink_to(store)
    with pytest.raises(DataError, match=r"set/c' is a link that leads outside .*disk/part.*--image-root"):
        open_pairs(str(root), cache=cache)
    pairs = open_pairs(str(root), cache=cache, image_root=store.parent)
    assert pairs.captions() == ["photo 1", "photo 1", "photo 2"]
    assert number_of(pairs.image(2)) == 2
    assert pairs.skipped == 0


def test_a_folder_of_parquet_files(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(2)
    for n in range(2):
        table = pa.table({"image": pa.array([f"images/{n}.png"]), "text": pa.array([f"photo {n}"])})
        pq.write_table(table, folder / f"train-0000{n}-of-00002.parquet")
    assert open_pairs(str(folder), cache=cache).captions() == ["photo 0", "photo 1"]


def test_folders_without_pairs(pair_folder: MakeFolder, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pairs: it needs metadata.csv"):
        open_pairs(str(pair_folder(2)), cache=cache)  # images alone
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pairs"):
        open_pairs(str(tmp_path / "empty"), cache=cache)
    with pytest.raises(DataError, match="mixes folders"):
        open_pairs(f"{tmp_path / 'empty'}::{tmp_path / 'set'}", cache=cache)


def test_the_cache_may_lie_inside_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "flat"
    write_files(root, "1.jpg", "1.txt")
    for _ in range(2):
        assert len(open_pairs(str(root), cache=root / "runs" / "cache")) == 1


class FakeSplit:
    """Three scenes of two classes."""

    def __len__(self) -> int:
        return 3

    def caption(self, row: int) -> str:
        return f"scene {row}"

    def image(self, row: int) -> Image.Image:
        return plain((row, 0, 0))

    def label(self, row: int) -> int:
        return row % 2


def test_builtin_pairs(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    opened: list[str] = []

    def split(name: str) -> FakeSplit:
        opened.append(name)
        return FakeSplit()

    monkeypatch.setattr(world, "split", split)
    pairs = open_pairs("builtin", cache=cache)
    assert (pairs.spec, pairs.fingerprint) == ("builtin:train", "builtin:train")
    assert pairs.captions() == ["scene 0", "scene 1", "scene 2"]
    assert pairs.image(2).getpixel((0, 0)) == (2, 0, 0)
    assert pairs.image_ref(2) == "builtin:train/2"
    assert list(pairs.iter_captions(2)) == [(0, ["scene 0", "scene 1"]), (2, ["scene 2"])]
    assert "3 rows" in pairs.recognised
    copy = pickle.loads(pickle.dumps(pairs))
    assert isinstance(copy, BuiltinPairs)
    assert (copy.caption(1), copy.spec, copy.recognised) == ("scene 1", pairs.spec, pairs.recognised)
    assert open_pairs("builtin:pretrain", cache=cache).spec == "builtin:pretrain"
    assert opened == ["train", "train", "pretrain"]
    assert not cache.exists()


@pytest.mark.parametrize("spec", ["builtin:eval", "builtin:trian", "builtin:../x"])
def test_builtin_pairs_that_do_not_exist(spec: str, cache: Path) -> None:
    with pytest.raises(DataError, match="Built in are: builtin:train, builtin:pretrain"):
        open_pairs(spec, cache=cache)


def test_the_real_world_fits_the_adapter(cache: Path) -> None:
    pairs = open_pairs("builtin:pretrain", cache=cache)  # drawn one by one, without a cache
    assert pairs.image(5).mode == "RGB"
    assert pairs.caption(5)
