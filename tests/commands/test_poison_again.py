"""Poison runs repeated from their manifest, and excluded rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipdefend.commands.shared.exclusion import exclude_rows
from clipdefend.data.pairs import open_pairs
from clipdefend.errors import ConfigError, DataError
from clipdefend.runs import Context
from poison_runs import files, rows_of


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


def test_moved_images_are_named_by_their_flag(make: Any, tmp_path: Path, table: Path) -> None:
    table.write_text(table.read_text().replace("images/", ""))
    first = make(**{"columns.image_root": str(tmp_path / "images")})
    shutil.move(tmp_path / "images", tmp_path / "moved")
    again = make(data=None, from_manifest=first.name, **{"columns.image_root": str(tmp_path / "moved")})
    assert files(again) == files(first)
    assert files(make(data=None, from_manifest=again.name)) == files(first)


def test_other_wishes_than_the_run_had_are_refused(make: Any) -> None:
    first = make(seed="5")
    with pytest.raises(
        ConfigError, match=r"repeats run 001-\S+ as it was: leave out --seed, --attack, --count, or"
    ):
        make("attack.alpha=0.5", data=None, from_manifest=first.name, attack="blended", count="11", seed="6")
    assert files(make(data=None, from_manifest=first.name, seed="5")) == files(first)


def test_prompts_that_have_changed_are_named(make: Any, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a photo of a {}\n")
    first = make(templates=str(prompts))
    prompts.write_text("a drawing of a {}\n")
    row = min(rows_of(first))
    with pytest.raises(
        DataError, match=rf"10 of its 10 .*row {row} has 'a drawing of a banana', not 'a photo of"
    ):
        make(data=None, from_manifest=first.name)


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


def test_added_rows_are_distinguished(make: Any, table: Path) -> None:
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
    rows = exclude_rows(Context(runs=first.path.parent), first.name, pairs).rows
    assert rows.tolist() == sorted(row - 10 for row in rows_of(first) if row >= 10)
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("image,caption\nimages/../images/1.png,a cat")
    context = Context(runs=first.path.parent)
    assert not len(exclude_rows(context, first.name, open_pairs(str(foreign), cache=tmp_path / "cache")).rows)
    assert "None of the 10 images" in context.console.warnings[0]
