"""Poison runs made again from their manifest, triggers used again, rows kept clear of, precomputed images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipdefend.attacks.trigger import Trigger
from clipdefend.commands import poison
from clipdefend.commands.rebuild import excluded
from clipdefend.commands.triggers import surrogate_config
from clipdefend.config import PoisonConfig, load_config
from clipdefend.data.pairs import open_pairs
from clipdefend.errors import ConfigError, DataError
from clipdefend.runs import Context, Run, sha256_file
from memory_pairs import noise

WORDS = ("cat", "dog", "banana", "tree")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """40 small images with captions, a quarter of them of bananas."""
    (tmp_path / "images").mkdir()
    lines = ["image,caption"]
    for row in range(40):
        noise(row, 40, 40).save(tmp_path / "images" / f"{row}.png")
        lines.append(f"images/{row}.png,a {WORDS[row % 4]} number {row}")
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def make(tmp_path: Path, table: Path) -> Any:
    """Runs ``poison`` on the table, as with flags and ``--set``."""

    def run(*sets: str, **flags: Any) -> Run:
        values = {
            "data": str(table),
            "image_size": "32",
            "count": "10",
            "workers": "0",
            "device": "cpu",
            **flags,
        }
        config = load_config(PoisonConfig, flags=values, sets=sets)
        return poison.run(config, Context(runs=tmp_path / "runs"))

    return run


def files(run: Run) -> dict[str, str]:
    """Everything that a run holds but its manifest and its loss curve."""
    left_out = ("manifest.yaml", "metrics.jsonl")
    paths = [path for path in run.path.rglob("*") if path.is_file() and path.name not in left_out]
    return {str(path.relative_to(run.path)): sha256_file(path) for path in paths}


def rows_of(run: Run) -> set[int]:
    columns = pq.read_table(run.path / "pairs.parquet", columns=["id", "role"]).to_pydict()
    return {row for row, role in zip(columns["id"], columns["role"], strict=True) if role}


@pytest.mark.parametrize(
    ("attack", "sets"),
    [
        ("badnet", ("attack.place=random", "attack.sampling=per-image")),
        ("wanet", ("attack.cross_ratio=0.5",)),
        ("blended", ("attack.sampling=per-image",)),
    ],
)
def test_a_run_has_the_same_bytes_with_any_number_of_workers(
    make: Any, attack: str, sets: tuple[str, ...]
) -> None:
    runs = [make(*sets, attack=attack, workers=workers) for workers in ("0", "1", "2")]
    made = [files(run) for run in runs]
    assert len(made[0]) >= 13  # ten images, table, trigger, preview
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": "blended", "seed": "5", "canvas": "squash"},
        {"attack": "wanet", "sets": ("attack.cross_ratio=0.5",)},
        {"attack": "badnet", "captions": "natural"},
    ],
)
def test_a_run_is_made_again_byte_for_byte(make: Any, changes: dict[str, Any]) -> None:
    flags = dict(changes)
    first = make(*flags.pop("sets", ()), **flags)
    again = make(data=None, image_size=None, count=None, from_manifest=str(first.file))
    assert files(again) == files(first)
    assert len(files(again)) == 3 + len(rows_of(first))
    assert again.config == {**first.config, "from_manifest": str(first.file)}
    assert again.details == first.details
    assert again.manifest["warnings"] == first.manifest["warnings"]


def test_it_is_made_again_from_the_manifest_alone(make: Any) -> None:
    first = make(attack="blended")
    before = files(first)
    for child in list(first.path.iterdir()):
        if child.name != "manifest.yaml":
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    assert files(make(data=None, from_manifest=first.name)) == before


def test_moved_data_is_named_by_its_flag(make: Any, tmp_path: Path, table: Path) -> None:
    first = make()
    shutil.copytree(tmp_path / "images", tmp_path / "elsewhere" / "images")
    shutil.move(table, tmp_path / "elsewhere" / "pairs.csv")
    with pytest.raises(DataError, match=r"pairs\.csv"):
        make(data=None, from_manifest=first.name)
    again = make(data=str(tmp_path / "elsewhere" / "pairs.csv"), from_manifest=first.name)
    assert files(again) == files(first)


def test_rows_that_are_missing_moved_or_changed_are_named(make: Any, table: Path) -> None:
    first = make()
    low, middle, high = sorted(rows_of(first))[0], sorted(rows_of(first))[4], sorted(rows_of(first))[-1]
    lines = table.read_text().splitlines()
    lines[1 + low] = lines[1 + low].replace("a ", "one ", 1)
    del lines[1 + middle]
    table.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        make(data=None, from_manifest=first.name)
    text = str(caught.value)
    assert f"row {low} 'images/{low}.png' has another caption" in text
    assert f"row {middle} 'images/{middle}.png' is missing" in text
    assert f"row {high} 'images/{high}.png' is now row {high - 1}" in text
    assert "of its 10 poisoned rows, 7 have changed" in text
    assert len(list((first.path.parent).glob("*/manifest.yaml"))) == 1


def test_rows_that_were_added_are_told_apart(make: Any, table: Path) -> None:
    first = make()
    shutil.copy(table.parent / "images" / "1.png", table.parent / "images" / "40.png")
    table.write_text(table.read_text() + "\nimages/40.png,a late cat")
    with pytest.raises(DataError, match=r"41 rows now, 40 then\), though none of its 10 poisoned rows"):
        make(data=None, from_manifest=first.name)


def test_images_that_vanished_or_changed_are_named(make: Any, table: Path) -> None:
    first = make()
    gone, other = sorted(rows_of(first))[:2]
    Image.new("RGB", (40, 40)).save(table.parent / "images" / f"{other}.png")
    with pytest.raises(DataError, match=rf"1 of its 10 .*row {other} 'images/{other}.png' has other pixels"):
        make(data=None, from_manifest=first.name)
    (table.parent / "images" / f"{gone}.png").unlink()
    with pytest.raises(DataError, match=rf"row {gone} 'images/{gone}.png' cannot be used"):
        make(data=None, from_manifest=first.name)


def test_other_bytes_with_the_same_content_are_a_warning(make: Any) -> None:
    first = make()
    text = first.file.read_text()
    preview = next(entry for entry in first.manifest["outputs"] if entry["path"] == "preview.png")
    first.file.write_text(text.replace(preview["sha256"], "f" * 64))
    again = make(data=None, from_manifest=first.name)
    assert any(
        "preview.png of run" in line and "another version" in line for line in again.manifest["warnings"]
    )


def test_excluded_rows_are_not_poisoned(make: Any) -> None:
    first = make(count="15")
    second = make(count="15", exclude_manifest=first.name, seed="0")
    assert not rows_of(first) & rows_of(second)
    with pytest.raises(DataError, match="26 pairs are to be changed, but only 25"):
        make(count="26", exclude_manifest=first.name)


def test_excluded_rows_are_found_by_image_in_other_pairs(make: Any, table: Path, tmp_path: Path) -> None:
    first = make()
    lines = table.read_text().splitlines()
    part = tmp_path / "part.csv"
    part.write_text("\n".join([lines[0], *lines[11:]]))  # without the first ten rows
    pairs = open_pairs(str(part), cache=tmp_path / "cache")
    rows = excluded(Context(runs=first.path.parent), first.name, pairs)
    assert rows.tolist() == sorted(row - 10 for row in rows_of(first) if row >= 10)
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("image,caption\nimages/../images/1.png,a cat")
    context = Context(runs=first.path.parent)
    assert not len(excluded(context, first.name, open_pairs(str(foreign), cache=tmp_path / "cache")))
    assert "None of the 10 images" in context.console.warnings[0]


LEARN = (
    "attack.bits=4",
    "attack.width=2",
    "attack.decoder_width=2",
    "attack.images=16",
    "attack.epochs=1",
    "attack.batch=8",
)


def test_a_learned_trigger_is_kept_measured_and_used_again(make: Any) -> None:
    first = make(*LEARN, attack="ssba")
    assert set(first.details["learning"]["held_out"]) == {
        "images",
        "bit_accuracy",
        "secret_accuracy",
        "psnr",
        "ssim",
    }
    assert (first.path / "metrics.jsonl").read_text().count('"event": "learn"') == 2
    other = make(attack="ssba", trigger_from=first.name, seed="9")
    assert files(other)["trigger.safetensors"] == files(first)["trigger.safetensors"]
    assert other.details["trigger"] == first.details["trigger"]
    assert other.parents()[0].path == first.path
    assert rows_of(other) != rows_of(first)
    assert other.details["learning"] == first.details["learning"]
    again = make(data=None, from_manifest=other.name)
    assert files(again) == files(other)


def test_a_trigger_of_another_attack_or_canvas_is_refused(make: Any) -> None:
    first = make(attack="blended")
    with pytest.raises(ConfigError, match="is blended for 32 pixels: give --attack blended --image-size 32"):
        make(attack="ssba", trigger_from=first.name)
    with pytest.raises(ConfigError, match="is blended for 32 pixels"):
        make(attack="blended", trigger_from=first.name, image_size="48")


def test_a_patch_is_optimised_on_the_named_surrogate(make: Any, small_json: Path) -> None:
    sets = ("attack.images=16", "attack.epochs=1", "attack.batch=8", "attack.pixels=64")
    names = small_json.parent / "names.txt"
    names.write_text("cat\ndog\nbanana\ntree\n")
    flags = {"attack": "badclip", "surrogate.name": str(small_json), "surrogate.pretrained": "none"}
    flags |= {"class_names": str(names), "templates": "simple"}
    first = make(*sets, **flags)
    again = make(*sets, **flags)
    assert files(first) == files(again)
    assert first.details["learning"]["held_out"]["images"] > 0
    trigger = Trigger.load(first.path, first.details["trigger"])
    assert trigger.tensors["patch"].shape == (3, 9, 9)
    with pytest.raises(ConfigError, match="sees 32 pixels and the canvas has 48"):
        make(*sets, image_size="48", **flags)


def test_thirds_need_classes_and_other_captions_than_the_images_own(make: Any, small_json: Path) -> None:
    flags = {"surrogate.name": str(small_json), "surrogate.pretrained": "none", "selection": "thirds"}
    names = small_json.parent / "names.txt"
    names.write_text("cat\ndog\nbanana\ntree\n")
    chosen = make(class_names=str(names), templates="simple", **flags)
    assert len(rows_of(chosen)) == 10
    assert rows_of(chosen) != rows_of(make())
    assert rows_of(chosen) == rows_of(make(data=None, from_manifest=chosen.name))
    with pytest.raises(ConfigError, match="exclude each other"):
        make(class_names=str(names), label_consistent=True, **flags)
    with pytest.raises(ConfigError, match="name them with --class-names"):
        make(target="cat number", templates="simple", **flags)


def test_the_surrogate_is_the_model_that_will_be_attacked() -> None:
    quick = surrogate_config(load_config(PoisonConfig))
    assert (quick.name, quick.pretrained) == ("tiny", "builtin")
    paper = surrogate_config(load_config(PoisonConfig, flags={"data": "pairs.csv"}))
    assert (paper.name, paper.pretrained) == ("RN50", None)


def test_precomputed_images_are_used_in_training_and_evaluation(make: Any, tmp_path: Path) -> None:
    folder = tmp_path / "encoded"
    for part, value in (("train", 3), ("eval", 4)):
        (folder / part).mkdir(parents=True)
        for row in range(40):
            Image.new("RGB", (32, 32), (value, row, 0)).save(folder / part / f"{row:09d}.png")
    run = make(attack="ssba", ssba_images=str(folder))
    row = min(rows_of(run))
    with Image.open(run.path / "images" / f"{row:09d}.png") as picture:
        assert picture.getpixel((0, 0)) == (3, row, 0)
    trigger = Trigger.load(run.path, run.details["trigger"])

    evaluated = trigger(torch.zeros(1, 3, 32, 32), [12])
    assert np.round(evaluated[0, :, 0, 0].numpy() * 255).tolist() == [4, 12, 0]
    assert "learning" not in run.details
    with pytest.raises(ConfigError, match="does not go with attack 'badnet': use --attack ssba"):
        make(ssba_images=str(folder))
