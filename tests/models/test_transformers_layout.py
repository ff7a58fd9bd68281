"""transformers' CLIP and SigLIP: what it writes is read to its own features, whatever the sizes and the files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipdefend.errors import CheckpointError
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.models.transformers_names import from_transformers, to_transformers
from foreign_models import clip_config, siglip_config, write_transformers

CONFIGS: dict[str, Any] = {"clip": clip_config, "siglip": siglip_config}
TEXTS = ["a red cat", "the black dog on a small chair", "banana"]
TOLERANCE = 1e-5


@torch.no_grad()
def features_of(theirs: Any, ours: ClipModel) -> tuple[Tensor, Tensor]:
    """transformers' unit vectors of three images and three texts, normalised and tokenised by ``ours``."""
    pixels = (images() - ours.mean) / ours.std
    image = theirs.vision_model(pixels).pooler_output
    text = theirs.text_model(ours.tokenize(TEXTS)).pooler_output
    if theirs.config.model_type == "clip":
        image, text = theirs.visual_projection(image), theirs.text_projection(text)
    return F.normalize(image, dim=-1), F.normalize(text, dim=-1)


def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def check_equal(theirs: Any, ours: ClipModel) -> None:
    ours.eval()
    image, text = features_of(theirs, ours)
    assert (ours.encode_image(images()) - image).abs().max() <= TOLERANCE
    assert (ours.encode_text(ours.tokenize(TEXTS)) - text).abs().max() <= TOLERANCE
    assert ours.clip.logit_scale.item() == pytest.approx(theirs.logit_scale.item())
    assert image.std(dim=0).max() > 1e-3  # the features tell the images apart


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("seed", range(5))
def test_features_of_random_configurations_are_transformers_own(
    family: str, seed: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    changes: dict[str, Any] = {
        "text_num_hidden_layers": draw.choice([1, 2, 3]),
        "vision_num_hidden_layers": draw.choice([1, 2, 3]),
        "vision_intermediate_size": draw.choice([64, 100, 257]),
        "text_intermediate_size": draw.choice([64, 100, 257]),
        "vision_num_attention_heads": draw.choice([1, 2, 4]),
        "text_num_attention_heads": draw.choice([1, 2, 4]),
        "vision_patch_size": draw.choice([8, 16]),
    }
    if family == "clip":
        act = draw.choice(["quick_gelu", "gelu", "gelu_pytorch_tanh"])
        changes |= {
            "text_hidden_act": act,
            "vision_hidden_act": act,
            "text_hidden_size": draw.choice([64, 80]),
        }
        changes |= {"vision_layer_norm_eps": draw.choice([1e-5, 1e-3])}
    theirs = write_transformers(tmp_path, CONFIGS[family](**changes), seed=seed)
    check_equal(theirs, load_model(str(tmp_path), None))


def test_siglips_towers_are_distinguished_from_clips(tmp_path: Path) -> None:
    theirs = write_transformers(tmp_path, siglip_config())
    ours = load_model(f"local-dir:{tmp_path}", "none")
    assert ours.clip.logit_bias.item() == pytest.approx(theirs.logit_bias.item())
    assert ours.architecture.model["text_cfg"]["no_causal_mask"] is True
    assert ours.architecture.preprocess["resize_mode"] == "squash"
    assert ours.mean.flatten().tolist() == [0.5] * 3
    assert torch.equal(ours.tokenize(["A Cat!"]), ours.tokenize(["a cat"]))
    assert ours.tokenize(["a cat"]).shape == (1, 16)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", ["local-dir:{}", "{}", "auto"])
def test_shards_and_their_index(family: str, name: str, tmp_path: Path) -> None:
    theirs = write_transformers(tmp_path, CONFIGS[family](), max_shard_size="60KB")
    assert len(list(tmp_path.glob("model-0*-of-0*.safetensors"))) > 2
    pretrained = str(tmp_path) if name == "auto" else None
    check_equal(theirs, load_model(name.format(tmp_path), pretrained))
    index = tmp_path / "model.safetensors.index.json"
    check_equal(theirs, load_model(str(tmp_path), str(index)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", CONFIGS)
def test_half_precision_is_widened(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = write_transformers(tmp_path / "whole", CONFIGS[family]())
    theirs.to(dtype).save_pretrained(tmp_path / "whole")
    ours = load_model(str(tmp_path / "whole"), None)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    check_equal(theirs.float(), ours)


def test_a_pickle_of_transformers_with_its_old_buffers(tmp_path: Path) -> None:
    theirs = write_transformers(tmp_path, clip_config())
    (tmp_path / "model.safetensors").unlink()
    ids = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    torch.save({**theirs.state_dict(), **ids}, tmp_path / "pytorch_model.bin")
    check_equal(theirs, load_model(str(tmp_path), None))


def test_a_lone_file_needs_the_model_that_it_is_of(tmp_path: Path) -> None:
    theirs = write_transformers(tmp_path / "a", clip_config())
    lone = tmp_path / "lone.safetensors"
    (tmp_path / "a" / "model.safetensors").rename(lone)
    check_equal(theirs, load_model(str(tmp_path / "a"), str(lone)))
    with pytest.raises(CheckpointError, match="cannot be deduced"):
        load_model("auto", str(lone))


def test_what_transformers_leaves_out_is_its_default(tmp_path: Path) -> None:
    write_transformers(tmp_path, clip_config())
    config = json.loads((tmp_path / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        config[part].pop("layer_norm_eps")
        config[part].pop("hidden_act")
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_model(str(tmp_path), None).architecture.model
    assert model["quick_gelu"] is True
    assert "norm_kwargs" not in model["text_cfg"]


@pytest.mark.parametrize("family", CONFIGS)
def test_names_there_and_back(family: str, tmp_path: Path) -> None:
    theirs = write_transformers(tmp_path, CONFIGS[family]()).state_dict()
    back = to_transformers(from_transformers(theirs, tmp_path))
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key].reshape(theirs[key].shape), theirs[key]) for key in theirs)


def one_line(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "bert"},
            "of a model of type 'bert'; of transformers' models CLIP and SigLIP are read",
        ),
        ({"vision_config": {"hidden_act": "relu"}}, "two activations, relu and quick_gelu"),
        ({"vision_config": {"num_channels": 1}}, "images of 1 channels"),
        ({"text_config": {"hidden_size": 65}}, "text width 65 in 2 heads"),
        ({"text_config": {"hidden_size": -64}}, "not positive integers"),
        ({"vision_config": {"image_size": "large"}}, "not positive integers"),
        ({"vision_config": {"image_size": 1 << 20}}, "image_size is 1048576, not 1 to 4096"),
        ({"text_config": {"vocab_size": 500}}, "files of its tokenizer are missing"),
        ({"vision_config": {"image_size": 64}}, "of another image size than the model's 64 pixels"),
        ({"vision_config": 7}, "cannot be mapped"),
        ({"text_config": {"eos_token_id": [1, 2]}}, "cannot be mapped"),
    ],
    ids=str,
)
def test_configurations_that_do_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_transformers(tmp_path, clip_config())
    config = json.loads((tmp_path / "config.json").read_text())
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as error:
        load_model(str(tmp_path), None)
    assert message in one_line(error)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "../model.safetensors"}}, "a shard outside the folder"),
        ({"weight_map": {"a": "/etc/passwd"}}, "a shard outside the folder"),
        ({"weight_map": {"a": "model-9.safetensors"}}, "1 of the 1 shards"),
        ({"weight_map": {"a": "model.safetensors.index.json"}}, "names another index"),
        ({"weight_map": {"a": "whole.safetensors"}}, "lack 1 tensors that it lists, such as a"),
        ({"weight_map": {}}, "0 shards"),
        ({"weights": 1}, "not an index of shards"),
        ([1], "not an index of shards"),
    ],
    ids=str,
)
def test_indexes_that_mislead(index: Any, message: str, tmp_path: Path) -> None:
    write_transformers(tmp_path, clip_config())
    (tmp_path / "model.safetensors").rename(tmp_path / "whole.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError) as error:
        load_model(str(tmp_path), None)
    assert message in one_line(error)
