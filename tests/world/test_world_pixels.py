"""Pixels and splits of the built-in world: the same bytes everywhere, labels, and the cache."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipdefend import world
from clipdefend.errors import DataError
from clipdefend.world import nouns, shapes, splits
from clipdefend.world.draw import draw
from clipdefend.world.scene import SIZE
from clipdefend.world.splits import CACHED, LAYOUTS, Layout, Split, cache_folder

FIRST = 16
SMALL = 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPDEFEND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"world-{splits.VERSION}-small.npy"


def small() -> Split:
    return Split("small", Layout(first=1 << 35, size=SMALL))


def digest(name: str) -> str:
    """Of the first pictures and captions of a split, drawn one by one."""
    split = world.split(name)
    found = hashlib.sha256()
    for index in range(FIRST):
        found.update(draw(*split._compose(index)).tobytes())
        found.update(split.caption(index).encode())
    return found.hexdigest()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", "df429fb4ad72e823917bf5f09d9c07081a190c32890800455de9cbc1ee204009"),
        ("eval", "be12a44d2aff043bc37e545294e18813a4a953b9f9deb739e4b3b2e99d523588"),
        ("pretrain", "75d1e40996daff7778b4bbae67c96fb3ac42646b0668bad673ddadecfb75bb27"),
    ],
)
def test_the_bytes_are_the_same_on_every_machine(name: str, expected: str) -> None:
    assert digest(name) == expected


def test_the_splits_share_no_scene() -> None:
    spans = sorted((layout.first, layout.first + layout.size) for layout in LAYOUTS.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    pictures = {name: {draw(*world.split(name)._compose(i)).tobytes() for i in range(60)} for name in LAYOUTS}
    assert all(len(each) == 60 for each in pictures.values())
    assert len(set.union(*pictures.values())) == 60 * len(LAYOUTS)


def test_labels_are_balanced_and_name_the_subject() -> None:
    split = world.split("eval")
    counts = Counter(split.label(index) for index in range(len(split)))
    assert set(counts) == set(range(len(world.CLASSES)))
    assert max(counts.values()) - min(counts.values()) <= 1
    for index in range(200):
        assert split._compose(index)[0].subject.label == split.label(index)
        assert world.CLASSES[split.label(index)] in split.caption(index)


def test_outlines_fill_their_square_and_differ() -> None:
    masks = {noun: shapes.silhouette(noun) for noun in world.CLASSES}
    assert len({mask.tobytes() for mask in masks.values()}) == len(masks)
    for noun, mask in masks.items():
        assert 0.08 < mask.mean() < 0.9, noun
        cover = shapes.sprite(noun, 27)
        assert (cover.min(), cover.max()) == (0, 16), noun
        assert np.array_equal(shapes.sprite(noun, 27, flipped=True), cover[:, ::-1])


def test_a_rectangle_is_rasterised_to_the_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(nouns.OUTLINES, "box", "p 6,0 18,0 18,12 6,12; -p 6,0 12,0 12,6 6,6")
    fine = np.zeros((192, 192), dtype=bool)
    fine[:96, 48:144] = True
    fine[:48, 48:96] = False
    assert np.array_equal(shapes.silhouette("box"), fine)
    cover = np.zeros((8, 8))
    cover[:4, 2:6] = 16
    cover[:2, 2:4] = 0
    assert np.array_equal(shapes.sprite("box", 8), cover)


def test_a_picture_is_what_its_scene_draws_in_cache_and_out_of_it(cache: Path) -> None:
    split = small()
    for index in (0, 7, SMALL - 1):
        pixels = draw(*split._compose(index))
        assert pixels.shape == (SIZE, SIZE, 3)
        assert pixels.dtype == np.uint8
        assert np.array_equal(split.pixels(index), pixels)
        assert np.array_equal(np.asarray(split.image(index)), pixels)
    assert cache.is_file()
    large = Split("large", Layout(first=1 << 35, size=CACHED + 1))
    assert np.array_equal(large.pixels(7), split.pixels(7))
    assert os.listdir(cache.parent) == [cache.name]


def test_the_cache_is_used(cache: Path) -> None:
    small().pixels(0)
    marked = np.load(cache)
    marked[0] = 7
    np.save(cache, marked)
    assert (small().pixels(0) == 7).all()


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "another shape", "another type", "pickle"])
def test_a_damaged_cache_is_drawn_anew(cache: Path, damage: str) -> None:
    expected = small().pixels(3).copy()
    whole = cache.read_bytes()
    if damage == "another shape":
        np.save(cache, np.zeros((SMALL + 1, SIZE, SIZE, 3), np.uint8))
    elif damage == "another type":
        np.save(cache, np.zeros((SMALL, SIZE, SIZE, 3), np.int16))
    elif damage == "pickle":
        np.save(cache, np.array([{}] * SMALL, dtype=object))
    else:
        cache.write_bytes({"empty": b"", "text": b"no array", "truncated": whole[: len(whole) // 2]}[damage])
    assert np.array_equal(small().pixels(3), expected)
    assert cache.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPDEFEND_CACHE", str(tmp_path / "file" / "below"))
    split = small()
    assert np.array_equal(split.pixels(2), draw(*split._compose(2)))


def test_a_cache_that_cannot_be_replaced_leaves_nothing_behind(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "other").write_text("")
    split = small()
    assert np.array_equal(split.pixels(2), draw(*split._compose(2)))
    assert os.listdir(cache.parent) == [cache.name]


def test_a_full_disk_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, array: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    split = small()
    assert np.array_equal(split.pixels(2), draw(*split._compose(2)))
    assert os.listdir(cache.parent) == []


def test_readers_at_the_same_time_see_the_same_pictures(cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        readers = [small() for _ in range(4)]
        found = list(pool.map(lambda reader: reader.pixels(5).tobytes(), readers))
    assert len(set(found)) == 1
    assert os.listdir(cache.parent) == [cache.name]


def test_a_split_travels_to_another_process_without_its_pixels(cache: Path) -> None:
    split = small()
    split.pixels(0)
    packed = pickle.dumps(split)
    assert len(packed) < 1000
    assert np.array_equal(pickle.loads(packed).pixels(1), split.pixels(1))


def test_the_cache_is_the_users_unless_a_variable_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPDEFEND_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("CLIPDEFEND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "clipdefend"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / ".cache" / "clipdefend"


def test_without_a_home_the_scenes_are_drawn_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    expected = small().pixels(1).copy()
    for name in ("CLIPDEFEND_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder() is None
    assert np.array_equal(small().pixels(1), expected)


def test_scenes_outside_a_split_and_unknown_splits_are_refused() -> None:
    split = small()
    for index in (-1, SMALL):
        with pytest.raises(IndexError, match=f"Scene {index} "):
            split.caption(index)
    with pytest.raises(DataError, match=r"'test'.*train, eval, pretrain"):
        world.split("test")
