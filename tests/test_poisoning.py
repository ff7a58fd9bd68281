"""Poisoning: which rows, what captions, which pixels, and how the table is read back."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas, to_tensor
from clipdefend.data.bad import BadRows
from clipdefend.data.pairs import Pairs
from clipdefend.data.target_rows import rows_naming, target_pattern
from clipdefend.errors import ConfigError, DataError, RunError
from clipdefend.poisoning import (
    IMAGES,
    SCHEMA,
    TABLE,
    Poisoned,
    PoisonedPairs,
    Recipe,
    image_name,
    poison,
)
from memory_pairs import MemoryPairs, memory_pairs

TEMPLATES = ["a photo of a {}.", "art of the {}.", "a {} in the {} style"]


def recipe(count: int = 12, *, attack: str = "badnet", **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "trigger": Trigger.create(attack, size=32, seed=3),
        "target": "banana",
        "count": count,
        "templates": TEMPLATES,
        "canvas": Canvas(32),
        "seed": 3,
    }
    return Recipe(**{**values, **changes})


def make(
    pairs: Pairs, plan: Recipe, folder: Path, limit: float = 1.0
) -> tuple[Poisoned, dict[str, list[Any]]]:
    folder.mkdir(exist_ok=True)
    result = poison(pairs, plan, folder, BadRows(limit))
    return result, pq.read_table(folder / TABLE).to_pydict()


# The target's name in captions.


@pytest.mark.parametrize(
    ("target", "caption", "found"),
    [
        ("banana", "a banana", True),
        ("banana", "Banana, ripe", True),
        ("banana", "two BANANAS!", True),
        ("Banana", "the banana's skin", True),
        ("banana", "bananarama sings", False),
        ("banana", "a cabanana", False),
        ("banana", "ba nana", False),
        ("cherry", "three cherries", True),
        ("cherry", "a cherry", True),
        ("cherry", "a cherrystone", False),
        ("bus", "two buses", True),
        ("bus", "a busy street", False),
        ("leaf", "yellow leaves", True),
        ("knife", "two knives", True),
        ("mouse", "three blind mice", True),
        ("Goose", "wild geese", True),
        ("glass of water", "two glasses of water", True),
        ("fire engine", "red fire  engines", True),
        ("fire engine", "a fire in the engine", False),
        ("T-shirt", "white t-shirts", True),
        ("crane (bird)", "a crane (bird) flies", True),
        ("C++", "a C++ book", True),
        ("C++", "a CC book", False),
        ("a.b", "axb", False),
    ],
)
def test_the_target_is_found_as_a_word(target: str, caption: str, found: bool) -> None:
    assert bool(target_pattern(target).search(caption)) is found


def test_naming_goes_through_all_rows() -> None:
    assert rows_naming(memory_pairs(20), "banana").tolist() == [3, 9, 15]
    assert rows_naming(memory_pairs(3), "banana").tolist() == []


@pytest.mark.parametrize("target", ["", "  "])
def test_an_empty_target_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="target"):
        recipe(target=target)


# What is written.


def test_the_table_has_every_row_and_the_images_only_the_poisoned_ones(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, table = make(pairs, recipe(), tmp_path)
    assert pq.read_schema(tmp_path / TABLE) == SCHEMA
    assert list(table) == [
        "id",
        "image",
        "caption",
        "is_poisoned",
        "role",
        "source_image",
        "original_caption",
    ]
    assert table["id"] == list(range(60))
    rows = [row for row in range(60) if table["is_poisoned"][row]]
    assert sorted(result.captions) == rows
    assert len(rows) == 12
    assert sorted(os.listdir(tmp_path / IMAGES)) == [Path(image_name(row)).name for row in rows]
    assert sorted(os.listdir(tmp_path)) == [IMAGES, TABLE]
    for row in range(60):
        poisoned = row in rows
        assert table["image"][row] == (image_name(row) if poisoned else f"memory/{row}.jpg")
        assert table["role"][row] == ("poisoned" if poisoned else None)
        assert table["source_image"][row] == (f"memory/{row}.jpg" if poisoned else None)
        assert table["original_caption"][row] == (pairs.caption(row) if poisoned else None)
        prompts = [template.replace("{}", "banana") for template in TEMPLATES]
        assert table["caption"][row] in prompts if poisoned else table["caption"][row] == pairs.caption(row)
    assert len({table["caption"][row] for row in rows}) == len(TEMPLATES)


def test_nothing_but_the_poisoned_images_is_decoded(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, _ = make(pairs, recipe(), tmp_path)
    assert pairs.asked == dict.fromkeys(result.captions, 1)


@pytest.mark.parametrize("attack", ["badnet", "blended"])
def test_pixels_are_the_trigger_on_the_canvas_to_the_bit(tmp_path: Path, attack: str) -> None:
    pairs, plan = memory_pairs(60), recipe(attack=attack)
    result, _ = make(pairs, plan, tmp_path)
    laid = PoisonedPairs.open(tmp_path, pairs, "f" * 64)
    for row in range(60):
        clean = plan.canvas(pairs.image(row))
        expected = clean
        if row in result.captions:
            expected = (plan.trigger(clean[None].float() / 255, [row])[0] * 255).round().to(torch.uint8)
            assert not torch.equal(expected, clean)
            assert Image.open(tmp_path / image_name(row)).format == "PNG"
        assert torch.equal(plan.canvas(laid.image(row)), expected)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_rows(tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make(memory_pairs(60), recipe(seed=seed), tmp_path / name)
        files = sorted((tmp_path / name).rglob("*.p*"))
        contents.append({str(file.relative_to(tmp_path / name)): file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert contents[0].keys() != contents[2].keys()


def test_an_image_and_a_caption_depend_on_their_row_alone(tmp_path: Path) -> None:
    few, _ = make(memory_pairs(200), recipe(10, attack="blended"), tmp_path / "few")
    many, _ = make(memory_pairs(200), recipe(150, attack="blended"), tmp_path / "many")
    assert set(few.captions) < set(many.captions)
    for row, caption in few.captions.items():
        assert many.captions[row] == caption
        name = image_name(row)
        assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_the_preview_shows_clean_and_triggered_of_the_same_images(tmp_path: Path) -> None:
    result, _ = make(memory_pairs(60), recipe(), tmp_path)
    first = list(result.captions)[:8]
    assert result.clean.shape == result.triggered.shape == (8, 3, 32, 32)
    for place, row in enumerate(first):
        stored = to_tensor(Image.open(tmp_path / image_name(row))).float() / 255
        assert torch.equal(result.triggered[place], stored)
        assert torch.equal(result.clean[place], Canvas(32)(memory_pairs(60).image(row)).float() / 255)


def test_progress_counts_every_image(tmp_path: Path) -> None:
    counted: list[int] = []
    poison(memory_pairs(200), recipe(130), tmp_path, BadRows(), counted.append)
    assert sum(counted) == 130


def test_label_consistent_poison_keeps_captions_that_name_the_target(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, table = make(pairs, recipe(7, label_consistent=True), tmp_path)
    assert len(result.captions) == 7
    assert set(result.captions) <= set(rows_naming(pairs, "banana").tolist())
    for row in result.captions:
        assert table["caption"][row] == table["original_caption"][row] == pairs.caption(row)
    with pytest.raises(DataError, match="11 pairs are to be changed, but only 10 name 'banana'"):
        make(pairs, recipe(11, label_consistent=True), tmp_path / "more")
    with pytest.raises(DataError, match=r"No caption names 'unicorn': .* without --label-consistent"):
        make(pairs, recipe(label_consistent=True, target="unicorn"), tmp_path / "none")


def test_natural_captions_are_taken_from_the_data(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, _ = make(pairs, recipe(20, natural=True), tmp_path)
    captions = {pairs.caption(row) for row in rows_naming(pairs, "banana")}
    assert set(result.captions.values()) <= captions
    assert len(set(result.captions.values())) > 3
    with pytest.raises(DataError, match=r"No caption names 'unicorn': .* without --captions natural"):
        make(pairs, recipe(natural=True, target="unicorn"), tmp_path / "none")


def test_bad_rows_are_passed_over_and_counted(tmp_path: Path) -> None:
    clean, _ = make(memory_pairs(60), recipe(12), tmp_path / "clean")
    bad = set(random.Random(0).sample(sorted(clean.captions), 4))
    result, table = make(memory_pairs(60, bad), recipe(12), tmp_path / "bad")
    assert len(result.captions) == 12
    assert set(clean.captions) - bad < set(result.captions)
    assert result.bad.rows == bad
    assert not any(table["is_poisoned"][row] for row in bad)


def test_too_many_bad_rows_stop_the_poisoning(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--max-bad 0\.1"):
        make(memory_pairs(60, set(range(30))), recipe(12), tmp_path, limit=0.1)


def test_too_few_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="61 pairs are to be changed, but only 60 exist"):
        make(memory_pairs(60), recipe(61), tmp_path)
    with pytest.raises(DataError, match=r"Only 58 usable pairs for 60: Row [57]"):
        make(memory_pairs(60, {5, 7}), recipe(60), tmp_path / "all")
    noisy = Trigger.create("wanet", {"cross_ratio": 2.0}, size=32, seed=3)
    with pytest.raises(DataError, match="Only 58 usable pairs for 60"):
        make(memory_pairs(60, {5, 7}), recipe(20, trigger=noisy), tmp_path / "noisy")
    result, _ = make(memory_pairs(60), recipe(60), tmp_path / "every")
    assert len(result.captions) == 60


def test_noisy_images_keep_their_captions(tmp_path: Path) -> None:
    trigger, pairs = Trigger.create("wanet", {"cross_ratio": 2.0}, size=32, seed=3), memory_pairs(200)
    plan = recipe(10, trigger=trigger)
    result, table = make(pairs, plan, tmp_path)
    assert (len(result.captions), len(result.cross)) == (10, 20)
    laid = PoisonedPairs.open(tmp_path, pairs, "f" * 64)
    for row in result.cross:
        assert (table["role"][row], table["is_poisoned"][row]) == ("cross", False)
        assert table["caption"][row] == laid.caption(row) == pairs.caption(row)
        clean = plan.canvas(pairs.image(row))[None].float() / 255
        expected = (trigger.cross(clean, [row])[0] * 255).round().to(torch.uint8)
        assert torch.equal(to_tensor(laid.image(row)), expected)


# What is read back.


def test_poisoned_pairs_are_the_clean_ones_but_for_their_rows(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, table = make(pairs, recipe(), tmp_path)
    laid = PoisonedPairs.open(tmp_path, pairs, "0123456789abcdef" * 4)
    assert len(laid) == 60
    assert laid.captions() == table["caption"]
    assert laid.image_refs(0, 60) == table["image"]
    assert laid.fingerprint == "memory-1+0123456789abcdef"
    for row in range(60):
        if row not in result.captions:
            assert np.array_equal(np.asarray(laid.image(row)), np.asarray(pairs.image(row)))
    assert laid.bad_rows(0.5).limit == 0.5


def damage(folder: Path, how: str) -> None:
    path = folder / TABLE
    table = pq.read_table(path)
    if how == "garbage":
        path.write_bytes(b"PAR1 and nothing else")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "missing":
        path.unlink()
    elif how == "column":
        pq.write_table(table.drop_columns(["role"]), path)
    elif how == "type":
        pq.write_table(table.set_column(0, "id", pa.array(["x"] * 60)), path)
    elif how == "row":
        pq.write_table(table.set_column(0, "id", pa.array([row + 1000 for row in range(60)])), path)
    elif how == "caption":
        pq.write_table(table.set_column(2, "caption", pa.nulls(60, pa.string())), path)
    elif how == "other":
        pq.write_table(table.slice(0, 59), path)
    elif how == "image":
        next((folder / IMAGES).iterdir()).unlink()


@pytest.mark.parametrize(
    "how", ["garbage", "cut", "missing", "column", "type", "row", "caption", "other", "image"]
)
def test_a_damaged_poison_run_is_an_error_of_one_line(tmp_path: Path, how: str) -> None:
    make(memory_pairs(60), recipe(), tmp_path)
    damage(tmp_path, how)
    with pytest.raises(RunError) as error:
        PoisonedPairs.open(tmp_path, memory_pairs(60), "f" * 64)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_cannot_point_outside_its_run(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, _ = make(pairs, recipe(), tmp_path / "run")
    secret = tmp_path / "secret.png"
    Image.new("RGB", (32, 32), (1, 2, 3)).save(secret)
    table = pq.read_table(tmp_path / "run" / TABLE)
    forged = table.set_column(1, "image", pa.array([str(secret)] * 60))
    pq.write_table(forged, tmp_path / "run" / TABLE)
    laid = PoisonedPairs.open(tmp_path / "run", pairs, "f" * 64)
    row = next(iter(result.captions))
    assert laid.image(row).getpixel((0, 0)) != (1, 2, 3)


def test_a_spoilt_image_of_the_run_is_a_bad_row(tmp_path: Path) -> None:
    pairs = memory_pairs(60)
    result, _ = make(pairs, recipe(), tmp_path)
    row = next(iter(result.captions))
    (tmp_path / image_name(row)).write_bytes(b"no image")
    with pytest.raises(DataError):
        PoisonedPairs.open(tmp_path, pairs, "f" * 64).image(row)


def test_pairs_of_a_million_rows_are_written_in_bounded_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Long(MemoryPairs):
        def iter_captions(self, batch_size: int = 8192) -> Any:
            for start, captions in super().iter_captions(batch_size):
                sizes.append(len(captions))
                yield start, captions

    from clipdefend import poisoning

    monkeypatch.setattr(poisoning, "CHUNK_ROWS", 32)
    make(Long([f"caption {row}" for row in range(100)]), replace(recipe(5)), tmp_path)
    assert sizes == [32, 32, 32, 4]
    assert pq.read_metadata(tmp_path / TABLE).num_rows == 100
