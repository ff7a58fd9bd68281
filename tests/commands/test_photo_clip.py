"""``examples/photo_clip`` and the chain of commands on its model, with generated photos and random weights."""

from __future__ import annotations

import csv
import importlib
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from clipdefend.models.load import load_model
from command_lines import Shell
from memory_pairs import noise

EXAMPLE = Path(__file__).parents[2] / "examples" / "photo_clip"
PHOTOS = 12
CAPTIONS = ("a brown dog runs over the grass", "two men ride bicycles down a road", "a girl in a red dress")
MODEL = "local-dir:made/model"
SMALL = ("--batch-size", 4, "--epochs", 1, "--warmup", 1, "--workers", 0, "--device", "cpu", "--topk", "1,2")
ADVISED = ("--lr", "1e-4", "--batch-norm", "eval")
EVAL = ("--eval-data", "eval", "--templates", "simple")


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, Any]]:
    """The modules of the example by name, with towers of a tiny size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        names = ("towers", "photos", "stages", "recipe", "figures")
        modules: dict[str, Any] = {name: importlib.import_module(name) for name in names}
        config = modules["towers"].CONFIG["model_cfg"]
        patch.setitem(config, "embed_dim", 16)
        patch.setitem(config["vision_cfg"], "image_size", 32)
        patch.setitem(config["text_cfg"], "width", 16)
        yield modules
    for name in names:
        del sys.modules[name]


@pytest.fixture(scope="module")
def made(example: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder with a dozen photos, two captions each, and the model that two steps a stage make of them."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    lines = ["image,caption"]
    for number in range(PHOTOS):
        noise(number, 40, 32).save(folder / "images" / f"{number}.png")
        lines += [f"images/{number}.png,{CAPTIONS[(number + i) % 3]} {number}" for i in range(2)]
    (folder / "pairs.csv").write_text("\n".join(lines))
    for number, name in enumerate(("dog", "bicycle", "banana")):
        (folder / "eval" / name).mkdir(parents=True)
        for i in range(2):
            noise(100 + 2 * number + i, 32, 40).save(folder / "eval" / name / f"{i}.png")
    torch.save(image_weights(example), folder / "lite0.pt")
    for out in ("made", "again"):
        make(folder, out)
    yield Shell(folder)
    shutil.rmtree(folder)


def image_weights(example: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random weights of the image tower with a classifier of 1,000 classes, named as in no file of timm's."""
    trunk = example["towers"].build(example["towers"].CONFIG).clip.visual.trunk
    state = {f"layer{i}.{name}": tensor for i, (name, tensor) in enumerate(trunk.state_dict().items())}
    last = nn.Linear(trunk.num_features, 1000)
    for name, tensor in zip(list(state)[-2:], (last.weight, last.bias), strict=True):
        state[name] = tensor.detach()
    return state


def make(folder: Path, out: str) -> None:
    arguments = f"--data pairs.csv --weights lite0.pt --out {out} --held-out 6 --attack 4 --clean 2 --steps 2"
    arguments += " --eval-data eval"
    threads = torch.get_num_threads()
    printed = folder / f"{out}.txt"
    with pytest.MonkeyPatch.context() as patch, printed.open("w") as file, redirect_stdout(file):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["photo_clip", *arguments.split()])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    torch.set_num_threads(threads)


def test_the_model_is_the_same_to_the_last_byte_when_it_is_made_again(made: Shell) -> None:
    first, second = (made.folder / out / "model" / "open_clip_model.safetensors" for out in ("made", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_figures_are_those_of_the_classes_and_photos_that_were_given(made: Shell) -> None:
    printed = (made.folder / "made.txt").read_text()
    assert "zero-shot top-5: 100.0 %" in printed  # of three classes
    assert "i2t R@5: " in printed
    assert "modality gap: " in printed


def test_no_photo_is_in_two_tables_and_each_has_its_own_caption(made: Shell) -> None:
    pairs = {tuple(row.values()) for row in csv.DictReader((made.folder / "pairs.csv").open())}
    tables = {
        name: list(csv.DictReader((made.folder / "made" / f"{name}.csv").open()))
        for name in ("attack", "clean", "held-out")
    }
    assert [len(table) for table in tables.values()] == [4, 2, 6]
    assert len({row["image"] for table in tables.values() for row in table}) == PHOTOS
    assert all(tuple(row.values()) in pairs for table in tables.values() for row in table)


def test_frozen_stages_keep_the_weights_that_they_were_given(made: Shell, example: dict[str, Any]) -> None:
    given = list(torch.load(made.folder / "lite0.pt").values())
    with made.inside():
        trunk: Any = load_model(MODEL, None).clip.visual.trunk
    stored = list(trunk.state_dict().items())
    same = {name: torch.equal(tensor, given[i]) for i, (name, tensor) in enumerate(stored[:-2])}
    assert all(kept for name, kept in same.items() if name.startswith(("conv_stem", "blocks.4")))
    assert not same["conv_head.weight"]
    assert all(kept for name, kept in same.items() if "running" in name)


def test_the_text_tower_begins_as_the_bag_of_words_that_is_trained_first(example: dict[str, Any]) -> None:
    towers = example["towers"]
    model = towers.build(towers.CONFIG).eval()
    towers.begin_as_bag(model.clip)
    tokens = model.tokenize(
        ["a dog", "two men ride bicycles down a road", "road a down bicycles ride men two"]
    )
    bag = towers.encode_bag(model.clip, tokens)
    torch.testing.assert_close(bag, model.encode_text(tokens))
    torch.testing.assert_close(bag[1], bag[2])  # the order of words means nothing to it
    assert (bag[0] - bag[1]).norm() > 0.1


def test_the_rear_of_the_image_tower_continues_its_front(example: dict[str, Any]) -> None:
    towers = example["towers"]
    model = towers.build(towers.CONFIG).eval()
    pixels = torch.rand(2, 3, 32, 32)
    maps = towers.front(model.clip.visual.trunk, (pixels - model.mean) / model.std)
    torch.testing.assert_close(towers.rear(model.clip.visual.trunk, maps), model.encode_image(pixels))


def test_the_chain_runs_on_the_model(made: Shell) -> None:
    attack, clean = (f"--data made/{name}.csv --image-root .".split() for name in ("attack", "clean"))
    poison = made("poison", *attack, "--target", "dog", "--count", 2, "--for", MODEL)
    assert poison.code == 0, poison.err
    victim = made("finetune-attack", "--model", MODEL, *SMALL, *EVAL, *ADVISED)
    assert victim.code == 0, victim.err
    assert "batch-norm" not in victim.err.lower()
    cleaned = made("defend", "--method", "cleanerclip", *clean, "--n-aug", 2, *SMALL, *EVAL, *ADVISED)
    assert cleaned.code == 0, cleaned.err
    evaluated = made("evaluate", *EVAL, "--topk", "1,2", "--workers", 0)
    with made.inside():
        metrics = evaluated.manifest["metrics"]
    assert metrics["n_clean"] == 6
    assert metrics["n_triggered"] == 4
