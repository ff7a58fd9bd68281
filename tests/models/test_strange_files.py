"""Files that stand in place of weights, and configurations that do not fit theirs: one line says what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_model
from clipdefend.models.clip import Architecture
from clipdefend.models.configurations import read_architecture
from clipdefend.models.load import load_model
from small_clip import SMALL, small_architecture

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 3\n"
PAGE = b"\n<!DOCTYPE html>\n<html lang=en><title>Sign in</title></html>"


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "open_clip_pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "a Git LFS pointer, which stands for the weights"),
        (PAGE, "an HTML page, such as a server's login or error page"),
        (b"<html><head></head></html>", "an HTML page"),
        (b"\xef\xbb\xbf<HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'{"weight_map": {}}', "a JSON file. Give the weights"),
        (b"", "an empty file: the download failed"),
    ],
    ids=["lfs", "page", "html", "mark", "xml", "json", "empty"],
)
def test_what_downloads_leave_in_place_of_weights(
    content: bytes, message: str, name: str, small_json: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    for model in (str(small_json), "auto"):
        with pytest.raises(CheckpointError) as error:
            load_model(model, str(tmp_path / name))
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_a_pointer_in_a_models_folder(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps(SMALL))
    (tmp_path / "open_clip_model.safetensors").write_bytes(POINTER)
    with pytest.raises(CheckpointError, match="Run 'git lfs pull'"):
        load_model(str(tmp_path), None)


def test_safetensors_are_known_by_their_content(small_json: Path, tmp_path: Path) -> None:
    state = build_model(small_architecture(), seed=2).clip.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "weights.bin")
    loaded = load_model(str(small_json), str(tmp_path / "weights.bin")).clip.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("kept", ["model", "ema"])
def test_what_was_left_out_is_said(kept: str, small_json: Path, tmp_path: Path) -> None:
    """The weights in training come first; their average is taken where it is all there is."""
    raw, average = (dict(build_model(small_architecture(), seed=seed).clip.state_dict()) for seed in (1, 2))
    record = {"model": raw, "ema": average} if kept == "model" else {"ema": average, "step": 3}
    torch.save(record, tmp_path / "x.pt")
    model = load_model(str(small_json), str(tmp_path / "x.pt"))
    wanted = raw if kept == "model" else average
    assert torch.equal(model.clip.state_dict()["visual.conv1.weight"], wanted["visual.conv1.weight"])
    said = [note for note in model.notes if "not those under 'ema'" in note]
    assert len(said) == (kept == "model")


def test_tensors_outside_the_model_are_named(small_json: Path, tmp_path: Path) -> None:
    state = build_model(small_architecture(), seed=1).clip.state_dict()
    own = {f"model.{key}": value for key, value in state.items()}
    torch.save({"state_dict": {"head.weight": torch.ones(2), **own}}, tmp_path / "x.ckpt")
    notes = load_model(str(small_json), str(tmp_path / "x.ckpt")).notes
    assert any("1 others, such as head.weight, were not" in note for note in notes)


def test_a_training_state_without_weights(small_json: Path, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"state": {}}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="contains no state dict; its keys are epoch, optimizer"):
        load_model(str(small_json), str(tmp_path / "x.pt"))


def test_a_configuration_without_preprocessing_says_whose_it_takes(small_json: Path, tmp_path: Path) -> None:
    assert any(
        "normalised by OpenAI's (0.481, 0.458, 0.408" in n for n in load_model(str(small_json), None).notes
    )
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}))
    assert load_model(str(own), None).notes == []


def test_names_whose_weights_agree_bring_their_own_mean() -> None:
    assert read_architecture("ViT-B-16-SigLIP").preprocess["mean"] == [0.5, 0.5, 0.5]
    assert read_architecture("MobileCLIP2-S0").preprocess["mean"] == [0, 0, 0]
    assert read_architecture("RN50").preprocess == {}


@pytest.mark.parametrize("size", [32, 224])
def test_a_tower_of_another_size_than_its_configuration(size: int) -> None:
    """timm's towers have sizes of their own, whatever ``image_size`` says."""
    vision = {
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": size,
    }
    architecture = Architecture({**SMALL, "vision_cfg": vision})
    if size == 224:
        build_model(architecture)
        return
    with pytest.raises(CheckpointError) as error:
        build_model(architecture)
    assert "does not take the configuration's images of 32 x 32 pixels" in str(error.value)
    assert "vision_cfg.image_size" in str(error.value)


def test_weights_of_another_image_size_are_reported(tmp_path: Path) -> None:
    vit = {"layers": 1, "width": 64, "patch_size": 16}
    small, large = (small_architecture(vision={**vit, "image_size": size}) for size in (32, 64))
    torch.save(build_model(large).clip.state_dict(), tmp_path / "x.pt")
    (tmp_path / "model.json").write_text(json.dumps(small.model))
    with pytest.raises(CheckpointError, match="of another image size than the model's 32 pixels"):
        load_model(str(tmp_path / "model.json"), str(tmp_path / "x.pt"))


@pytest.mark.parametrize("name", ["hf-hub:org/model", "local-dir:/tmp/x", "org/model"])
def test_towers_that_would_be_fetched_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="is a place, not the name"):
        build_model(Architecture({**SMALL, "vision_cfg": {"timm_model_name": name}}))
