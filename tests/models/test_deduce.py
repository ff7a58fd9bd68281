"""``--model auto``: certain architectures are found, others are answered with the candidates."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_model
from clipdefend.models.clip import Architecture, ClipModel
from clipdefend.models.load import load_model
from clipdefend.models.save import save_model
from small_clip import small_architecture


def write(path: Path, model: ClipModel) -> Path:
    save_file({key: value.contiguous() for key, value in model.clip.state_dict().items()}, path)
    return path


def weights_of(name: str, path: Path) -> Path:
    """Random weights of a name of open_clip's."""
    return write(path, build_model(Architecture(open_clip.get_model_config(name))))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-S-32-alt", "MobileCLIP-S1"])
def test_shapes_of_one_configuration_are_certain(name: str, tmp_path: Path) -> None:
    model = load_model("auto", str(weights_of(name, tmp_path / "x.safetensors")))
    assert model.architecture.model == open_clip.get_model_config(name)
    assert model.notes == [f"Model: {name}, deduced from {tmp_path / 'x.safetensors'}"]


@pytest.mark.slow
def test_what_shapes_do_not_show_is_asked_for(tmp_path: Path) -> None:
    path = weights_of("RN50", tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_model("auto", str(path))
    text = str(error.value)
    assert "fit RN50, RN50-quickgelu, which differ in what shapes do not show" in text
    assert "Name one with --model" in text
    state = dict(build_model(Architecture(open_clip.get_model_config("RN50"))).clip.state_dict())
    torch.save({**state, "input_resolution": torch.tensor(224)}, tmp_path / "openai.pt")
    model = load_model("auto", str(tmp_path / "openai.pt"))
    assert model.architecture.model == open_clip.get_model_config("RN50-quickgelu")
    assert model.notes == [f"Model: RN50-quickgelu, deduced from {tmp_path / 'openai.pt'}"]


def test_tiny_is_known_by_its_file_and_by_its_shapes(tmp_path: Path) -> None:
    tiny = load_model("tiny", "builtin")
    write(tmp_path / "x.safetensors", tiny)
    model = load_model("auto", str(tmp_path / "x.safetensors"))
    assert model.architecture == tiny.architecture
    assert "Model: tiny" in model.notes[0]


def test_a_folders_configuration_is_taken_at_its_word(tmp_path: Path) -> None:
    save_model(build_model(small_architecture(), seed=1), tmp_path)
    for given in (tmp_path, tmp_path / "open_clip_model.safetensors"):
        model = load_model("auto", str(given))
        assert model.architecture == small_architecture()
        assert model.notes == [f"Model: as {tmp_path / 'open_clip_config.json'} says"]


def test_weights_of_no_known_architecture(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", build_model(small_architecture(embed_dim=8)))
    with pytest.raises(CheckpointError, match=r"cannot be deduced.*Name it with --model NAME"):
        load_model("auto", str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("pretrained", [None, "none", "openai", "missing.pt"])
def test_nothing_to_deduce_from(pretrained: str | None) -> None:
    with pytest.raises(CheckpointError, match="deduces the architecture from weights"):
        load_model("auto", pretrained)
