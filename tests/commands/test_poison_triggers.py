"""What a poison run stamps: triggers learned, used again or made elsewhere; rows chosen; the target's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipdefend.attacks.trigger import Trigger
from clipdefend.commands.poison.trigger_maker import surrogate_config
from clipdefend.config import PoisonConfig, load_config
from clipdefend.errors import ConfigError
from poison_runs import files, rows_of

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


def test_a_trigger_that_was_used_again_is_made_again(make: Any) -> None:
    first = make("attack.alpha=0.4", attack="blended", seed="1")
    other = make(attack="blended", seed="2", trigger_from=first.name)
    assert other.details["trigger"] == first.details["trigger"]
    assert files(make(data=None, from_manifest=other.name)) == files(other)
    (other.path / "trigger.safetensors").unlink()
    again = make(data=None, from_manifest=other.name)
    assert files(again)["trigger.safetensors"] == files(first)["trigger.safetensors"]


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


def test_precomputed_images_are_used_in_training_and_evaluation(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.chdir(tmp_path)
    other = make(attack="ssba", trigger_from=run.name, seed="4")
    with Image.open(other.path / "images" / f"{min(rows_of(other)):09d}.png") as picture:
        assert picture.getpixel((0, 0)) == (3, min(rows_of(other)), 0)
    relative = make(attack="ssba", ssba_images="encoded")
    assert relative.config["attack"]["precomputed"] == "encoded"
    assert "ssba_images" not in relative.config
    named = make("attack.precomputed=encoded", attack="ssba")
    assert named.details["trigger"] == relative.details["trigger"]
    assert relative.details["trigger"] == other.details["trigger"] == run.details["trigger"]
    with pytest.raises(ConfigError, match="attack 'badnet' has no parameter 'precomputed'"):
        make(ssba_images=str(folder))


@pytest.mark.parametrize(("given", "name"), [("Banana", "banana"), (" banana ", "banana"), ("3", "mushroom")])
def test_a_class_of_the_built_in_world_is_named_as_it_is_called(make: Any, given: str, name: str) -> None:
    run = make(data="builtin", target=given, count="3")
    assert run.config["target"] == run.details["target"] == name
    table = pq.read_table(run.path / "pairs.parquet", columns=["caption", "is_poisoned"]).to_pylist()
    assert all(name in row["caption"].split() for row in table if row["is_poisoned"])


def test_a_wrong_parameter_is_reported_before_the_data_is_opened(make: Any) -> None:
    with pytest.raises(ConfigError, match="alpha is 7"):
        make("attack.alpha=7", attack="blended", data="no such table.csv")
