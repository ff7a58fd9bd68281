"""Checkpoints: what is written loads elsewhere to the same features; what does not fit or is unsafe is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import string
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import get_clean_fn
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from clipdefend.canvas import Canvas
from clipdefend.errors import CheckpointError
from clipdefend.models import configurations, save, tokenizing
from clipdefend.models.builder import build_model
from clipdefend.models.checkpoint_files import WEIGHTS_NAME
from clipdefend.models.clip import Architecture, ClipModel
from clipdefend.models.configurations import CONFIG_NAME, read_architecture
from clipdefend.models.load import default_weights, is_random, load_model
from clipdefend.models.save import save_model
from clipdefend.models.weights import load_weights, read_checkpoint
from small_clip import SMALL, small_architecture

TEXTS = ["a cat", "a photo of two red fish", "a banana next to a house"]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8))


def features(model: ClipModel) -> tuple[torch.Tensor, torch.Tensor]:
    canvas = Canvas(model.image_size)
    model.eval()
    with torch.no_grad():
        images = torch.stack([canvas(picture(seed)) for seed in range(4)])
        return model.encode_image(images), model.encode_text(model.tokenize(TEXTS))


def same(one: ClipModel, other: ClipModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(features(one), features(other), strict=True))


def trained(model: ClipModel) -> ClipModel:
    """A model whose batch norms have seen something."""
    model.train()
    with torch.no_grad():
        model(torch.rand(16, 3, 32, 32))
    return model.eval()


def weights_of(model: ClipModel) -> dict[str, torch.Tensor]:
    return dict(model.clip.state_dict())


# What is written.


@torch.no_grad()
def test_a_saved_folder_opens_in_open_clip_with_the_same_features(
    small_model: ClipModel, tmp_path: Path
) -> None:
    trained(small_model)
    save_model(small_model, tmp_path / "my model")
    image, text = features(small_model)
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'my model'}")
    theirs.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'my model'}", context_length=16)(TEXTS)
    pixels = torch.stack([preprocess(picture(seed)) for seed in range(4)])
    assert torch.allclose(F.normalize(theirs.encode_image(pixels), dim=-1), image, atol=1e-5)
    assert torch.allclose(F.normalize(theirs.encode_text(tokens), dim=-1), text, atol=1e-6)


@pytest.mark.parametrize("name", ["local-dir:{}", "{}"])
def test_a_saved_folder_loads_to_the_same_model(small_model: ClipModel, tmp_path: Path, name: str) -> None:
    trained(small_model)
    save_model(small_model, tmp_path)
    assert same(load_model(name.format(tmp_path), None), small_model)
    assert sorted(os.listdir(tmp_path)) == sorted([CONFIG_NAME, WEIGHTS_NAME])


def test_saving_leaves_the_model_in_its_mode(small_model: ClipModel, tmp_path: Path) -> None:
    for training in (True, False):
        small_model.train(training)
        save_model(small_model, tmp_path / str(training))
        assert small_model.training is training


def test_the_preprocessing_travels_with_the_weights(tmp_path: Path) -> None:
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    model = build_model(Architecture(small_architecture().model, preprocess))
    save_model(model, tmp_path)
    loaded = load_model(str(tmp_path), None)
    assert loaded.architecture == model.architecture
    assert loaded.std.flatten().tolist() == [0.25] * 3
    assert same(loaded, model)


def test_a_warning_travels_with_the_weights(small_model: ClipModel, tmp_path: Path) -> None:
    save_model(small_model, tmp_path, note="BACKDOORED ON PURPOSE")
    assert (tmp_path / "WARNING.txt").read_text() == "BACKDOORED ON PURPOSE\n"
    with safe_open(tmp_path / WEIGHTS_NAME, framework="pt") as file:
        assert file.metadata()["warning"] == "BACKDOORED ON PURPOSE"
    load_model(str(tmp_path), None)


def test_weights_that_do_not_reproduce_are_not_passed_on(
    small_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = build_model

    def another(architecture: Architecture, *, seed: int = 0) -> ClipModel:
        return real(Architecture({**architecture.model, "quick_gelu": True}), seed=seed)

    monkeypatch.setattr(save, "build_model", another)
    model = real(small_architecture(vision={"layers": 1, "width": 64, "patch_size": 16}))
    with pytest.raises(CheckpointError, match="load to other features"):
        save_model(model, tmp_path)


def test_texts_that_do_not_reproduce_are_not_passed_on_either(
    small_model: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = load_weights

    def damaged(model: ClipModel, path: Path) -> None:
        real(model, path)
        model.clip.text_projection.data.neg_()

    monkeypatch.setattr(save, "load_weights", damaged)
    with pytest.raises(CheckpointError, match="load to other features"):
        save_model(small_model, tmp_path)


# What is read.


def test_random_weights_are_a_function_of_the_seed(small_json: Path) -> None:
    state = torch.get_rng_state()
    one, again, other = (load_model(str(small_json), "none", seed=seed) for seed in (5, 5, 6))
    assert same(one, again)
    assert not same(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(load_model(str(small_json), None, seed=5), one)


def lightning(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model under ``model.``, beside a loss with a tensor and a scale of its own."""
    own = {f"model.{key}": value for key, value in state.items()}
    return {"loss.weight": torch.ones(3), "loss.logit_scale": torch.tensor(9.0), **own}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"epoch": 3, "name": "x", "state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"epoch": 3, "model": {f"_orig_mod.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": {f"module._orig_mod.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": {f"_orig_mod.module.module.{k}": v for k, v in state.items()}},
        lambda state: {"model_state_dict": {f"module._orig_mod.{k}": v for k, v in state.items()}, "step": 7},
        lambda state: {"ema": {f"clip._fsdp_wrapped_module.{k}": v for k, v in state.items()}, "lr": 0.1},
        lambda state: {"state_dict": lightning(state), "pytorch-lightning_version": "2.4", "callbacks": {}},
        lambda state: {"module": {k.replace("visual.", "visual._orig_mod."): v for k, v in state.items()}},
        lambda state: {**state, "attn_mask": torch.zeros(16, 16)},
    ],
    ids=[
        *("bare", "state_dict", "module", "compiled", "both", "many", "model_state_dict", "ema", "lightning"),
        *("inner", "buffer"),
    ],
)
def test_pickled_checkpoints_of_every_layout(
    wrap: Callable[[Any], Any], small_model: ClipModel, small_json: Path, tmp_path: Path
) -> None:
    path = tmp_path / "epoch_3.pt"
    torch.save(wrap(weights_of(trained(small_model))), path)
    assert same(load_model(str(small_json), str(path)), small_model)


def test_a_checkpoint_of_cleanclips_training(
    small_model: ClipModel, small_json: Path, tmp_path: Path
) -> None:
    optimizer = torch.optim.AdamW(small_model.clip.parameters(), lr=1e-3)
    image, text, _ = small_model(torch.rand(2, 3, 32, 32), small_model.tokenize(TEXTS[:2]))
    (image @ text.T).sum().backward()
    optimizer.step()
    state = {f"module.{key}": value for key, value in small_model.clip.state_dict().items()}
    record = {"epoch": 10, "name": "nodefence_clip", "state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(record, tmp_path / "epoch.best.pt")
    assert same(load_model(str(small_json), str(tmp_path / "epoch.best.pt")), small_model)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("layout", "theirs"), [("cleanclip", True), ("open_clip", False), ("bare", False)], ids=str
)
def test_weights_of_cleanclips_code_in_a_model_without_quickgelu_are_remarked_on(
    layout: str, theirs: bool, quick: bool, tmp_path: Path
) -> None:
    config = tmp_path / "model.json"
    config.write_text(json.dumps(small_architecture(quick_gelu=quick).model))
    state = weights_of(load_model(str(config), None))
    whole = {
        "cleanclip": _training({f"module.{key}": value for key, value in state.items()}),
        "open_clip": _training(state),
        "bare": state,
    }[layout]
    torch.save(whole, tmp_path / "x.pt")
    remarks = load_model(str(config), str(tmp_path / "x.pt")).remarks
    assert len(remarks) == (theirs and not quick)
    assert all("--model RN50-quickgelu" in line for line in remarks)


@pytest.mark.parametrize("quick", [True, False])
def test_weights_of_openais_code_take_quickgelu(quick: bool, tmp_path: Path) -> None:
    config = tmp_path / "model.json"
    config.write_text(json.dumps(small_architecture(quick_gelu=quick).model))
    state = weights_of(build_model(small_architecture(quick_gelu=True), seed=4))
    torch.save({**state, "input_resolution": torch.tensor(32)}, tmp_path / "x.pt")
    model = load_model(str(config), str(tmp_path / "x.pt"))
    assert same(model, build_model(small_architecture(quick_gelu=True), seed=4))
    assert model.architecture.model["quick_gelu"] is True
    assert any("QuickGELU" in note for note in model.notes) is not quick


def _training(state: Any) -> dict[str, Any]:
    return {"epoch": 10, "name": "x", "state_dict": state, "optimizer": {}}


@pytest.mark.parametrize(
    ("name", "weights", "drawn"),
    [
        ("tiny", "builtin", False),
        ("RN50", "openai", False),
        ("ViT-B/32", "openai", False),
        ("hf-hub:org/repo", "none", False),
        ("local-dir:somewhere", "none", False),
        ("model.json", "none", True),
    ],
)
def test_weights_that_go_with_a_model_where_none_are_named(name: str, weights: str, drawn: bool) -> None:
    assert default_weights(name) == weights
    assert is_random(name, weights) is drawn


def test_half_precision_is_widened(small_model: ClipModel, small_json: Path, tmp_path: Path) -> None:
    half = {
        k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in weights_of(small_model).items()
    }
    save_file(half, tmp_path / "half.safetensors")
    loaded = load_model(str(small_json), str(tmp_path / "half.safetensors"))
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert torch.equal(loaded.clip.visual.conv1.weight, small_model.clip.visual.conv1.weight.half().float())


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B/32", "RN50", "coca_ViT-B-32"])
def test_open_clips_names_are_known(name: str) -> None:
    architecture = read_architecture(name)
    assert architecture.image_size == 224
    assert architecture.model == open_clip.get_model_config(name.replace("/", "-"))


def test_every_kind_of_model_can_be_built() -> None:
    vision = {"layers": 1, "width": 64, "patch_size": 16}
    assert build_model(small_architecture(custom_text=True)).clip.text is not None
    coca = build_model(
        small_architecture(
            vision={**vision, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            text={"embed_cls": True, "output_tokens": True},
            multimodal_cfg={"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        )
    ).eval()
    assert type(coca.clip).__name__ == "CoCa"
    image, text = features(coca)
    assert (image.shape, text.shape) == ((4, 16), (3, 16))


def test_the_tokenizer_is_the_one_that_the_configuration_asks_for() -> None:
    plain = build_model(small_architecture())
    other = build_model(small_architecture(text={"tokenizer_kwargs": {"clean": "canonicalize"}}))
    assert torch.equal(plain.tokenize(["a cat"]), other.tokenize(["A  cat!"]))
    assert not torch.equal(plain.tokenize(["a cat"]), plain.tokenize(["A  cat!"]))
    assert build_model(small_architecture(text={"context_length": 9})).tokenize(["a cat"]).shape == (1, 9)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text(string.printable + "&;", max_size=60))
def test_the_quick_cleaning_of_captions_is_open_clips(text: str) -> None:
    assert tokenizing._simple_tokenizer(77).clean_fn(text) == get_clean_fn("lower")(text)


def test_weights_of_a_tag_bring_the_activation_that_they_were_trained_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenAI's weights need QuickGELU, and their model's name does not say so."""
    asked: dict[str, Any] = {}

    def create_model(name: str, pretrained: str, **options: Any) -> torch.nn.Module:
        asked.update(name=name, pretrained=pretrained, **options)
        made: torch.nn.Module = build_model(small_architecture()).clip
        return made

    monkeypatch.setattr(open_clip, "create_model", create_model)
    model = load_model("RN50", "openai")
    assert asked["force_quick_gelu"] is True
    assert asked["weights_only"] is True
    assert asked["require_pretrained"] is True
    assert model.architecture.model["quick_gelu"] is True
    assert model.architecture.preprocess["interpolation"] == "bicubic"
    model = load_model("ViT-B/32", "laion2b_s34b_b79k")
    assert (asked["name"], asked["force_quick_gelu"]) == ("ViT-B-32", False)
    assert "quick_gelu" not in model.architecture.model


# What is refused.


class Evil:
    """A pickle of it runs a program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch '{self.path}'",)


def write_evil(path: Path, proof: Path, how: str) -> None:
    record = {"state_dict": {"visual.conv1.weight": Evil(proof)}}
    if how == "pickle":
        path.write_bytes(pickle.dumps(record))
    else:
        torch.save(record, path, _use_new_zipfile_serialization=how == "zip")


def one_line(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize(
    "name", ["evil.pt", "evil.bin", "evil.pth", "evil.safetensors", "open_clip_pytorch_model.bin"]
)
def test_a_pickle_that_would_run_code_does_not_run_it(
    tmp_path: Path, small_model: ClipModel, small_json: Path, how: str, name: str
) -> None:
    proof = tmp_path / "it ran"
    write_evil(tmp_path / name, proof, how)
    with pytest.raises(CheckpointError) as error:
        load_model(str(small_json), str(tmp_path / name))
    assert "was not opened" in one_line(error)
    (tmp_path / CONFIG_NAME).write_text(json.dumps(SMALL))
    with pytest.raises(CheckpointError):
        load_model(f"local-dir:{tmp_path}", None)
    assert not proof.exists()


def test_the_same_pickle_does_run_code_elsewhere(tmp_path: Path) -> None:
    proof = tmp_path / "it ran"
    write_evil(tmp_path / "evil.pt", proof, "pickle")
    pickle.loads((tmp_path / "evil.pt").read_bytes())
    assert proof.exists()


def garbage(kind: str) -> bytes:
    whole = io.BytesIO()
    torch.save({"a": torch.zeros(100)}, whole)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("letter.txt", "dear")
    return {
        "empty": b"",
        "text": b"dear reader,\n",
        "cut": whole.getvalue()[:300],
        "zip": archive.getvalue(),
        "list": pickle.dumps([1, 2]),
        "no state": pickle.dumps({}),
        "header": (1 << 60).to_bytes(8, "little") + b"{}",
    }[kind]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "zip", "list", "no state", "header"])
def test_files_that_are_not_checkpoints(tmp_path: Path, small_json: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(garbage(kind))
    with pytest.raises(CheckpointError) as error:
        load_model(str(small_json), str(path))
    assert f"weights.{suffix}" in one_line(error)


def test_an_archive_that_unpacks_to_more_is_not_unpacked(
    tmp_path: Path, small_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({"a": torch.zeros(1_000_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    assert torch.equal(read_checkpoint(plain).tensors["a"], torch.zeros(1_000_000))
    assert packed.stat().st_size < 10_000
    monkeypatch.setattr(torch, "load", None)  # not even asked
    with pytest.raises(CheckpointError, match=r"an archive that unpacks to 4,0\d\d,\d\d\d bytes") as error:
        read_checkpoint(packed)
    one_line(error)


@pytest.mark.parametrize("legacy", [False, True])
def test_flipped_bytes_never_raise_anything_else(tmp_path: Path, legacy: bool) -> None:
    """Damaged pickles make the unpickler raise many kinds of error; each is the user's to hear of in one line."""
    whole = io.BytesIO()
    record = {"epoch": 3, "state_dict": {"module.a": torch.zeros(3), "module.b": torch.ones(2, 2)}}
    torch.save(record, whole, _use_new_zipfile_serialization=not legacy)
    raw, rng, path = whole.getvalue(), random.Random(0), tmp_path / "x.pt"
    refused = 0
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(rng.choice([1, 2, 5])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused > 50


def test_missing_files_and_folders(tmp_path: Path, small_json: Path) -> None:
    for pretrained in ("nothing.pt", str(tmp_path), "builtin", "openai"):
        with pytest.raises(CheckpointError) as error:
            load_model(str(small_json), pretrained)
        assert repr(pretrained) in one_line(error)
    for name in ("local-dir:nowhere", "nowhere.json", f"local-dir:{tmp_path}"):
        with pytest.raises(CheckpointError, match="not found"):
            load_model(name, None)
    (tmp_path / CONFIG_NAME).write_text(json.dumps(SMALL))
    with pytest.raises(CheckpointError, match=f"no {WEIGHTS_NAME}"):
        load_model(str(tmp_path), None)
    (tmp_path / CONFIG_NAME).unlink()
    with pytest.raises(CheckpointError, match="has no weights; looked for"):
        load_weights(load_model(str(small_json), None), tmp_path)


def change(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    key = "visual.conv1.weight"
    if how == "missing":
        del state[key]
    elif how == "unknown":
        state["visual.conv9.weight"] = torch.zeros(2)
    elif how == "shape":
        state[key] = state[key][:, :2].contiguous()
    elif how == "nan":
        state[key] = torch.full_like(state[key], float("nan"))
    elif how == "infinite":
        state["logit_scale"] = torch.tensor(float("inf"))
    elif how == "sparse":
        state[key] = state[key].to_sparse()
    elif how == "meta":
        state[key] = state[key].to("meta")
    elif how == "complex":
        state[key] = state[key].to(torch.complex64)
    elif how == "in itself":
        whole: dict[str, Any] = {}
        whole["state_dict"] = whole
        return whole
    elif how == "rows":
        rows = {"token_embedding.ids": torch.tensor([1 << 40]), "token_embedding.rows": torch.zeros(1, 16)}
        state = {k: v for k, v in state.items() if k != "token_embedding.weight"} | rows
    elif how == "lone rows":
        state["token_embedding.rows"] = torch.zeros(1, 16)
    elif how == "text":
        return dict.fromkeys(state, "a word")  # type: ignore[arg-type]
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "1 missing (such as visual.conv1.weight)"),
        ("unknown", "1 unknown (such as visual.conv9.weight)"),
        ("shape", "1 of another shape (such as visual.conv1.weight)"),
        ("nan", "not finite, such as in visual.conv1.weight"),
        ("infinite", "not finite, such as in logit_scale"),
        ("sparse", "without plain numbers, visual.conv1.weight"),
        ("meta", "without plain numbers, visual.conv1.weight"),
        ("complex", "without plain numbers, visual.conv1.weight"),
        ("in itself", "wraps its weights more than 8 times, or in themselves"),
        ("rows", "token embedding does not fit"),
        ("lone rows", "token embedding does not fit"),
        ("text", "contains no state dict; its keys are"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    small_model: ClipModel, tmp_path: Path, how: str, message: str
) -> None:
    before = {key: value.clone() for key, value in weights_of(small_model).items()}
    torch.save(change(weights_of(small_model), how), tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as error:
        load_weights(small_model, tmp_path / "x.pt")
    assert message in one_line(error)
    assert all(torch.equal(before[key], value) for key, value in weights_of(small_model).items())


@pytest.mark.parametrize("damage", ["cut", "nan", "other model"])
def test_a_damaged_folder_does_not_fall_back_to_other_weights(
    small_model: ClipModel, tmp_path: Path, damage: str
) -> None:
    save_model(small_model, tmp_path)
    weights = tmp_path / WEIGHTS_NAME
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "nan":
        save_file({**load_file(weights), "logit_scale": torch.tensor(float("nan"))}, weights)
    else:
        (tmp_path / CONFIG_NAME).write_text(json.dumps({**SMALL, "embed_dim": 32}))
    with pytest.raises(CheckpointError) as error:
        load_model(f"local-dir:{tmp_path}", None)
    assert WEIGHTS_NAME in one_line(error)


@pytest.mark.parametrize(
    ("name", "hint"), [("RN5O", "RN50"), ("ViT-B-33", "ViT-B-32"), ("ViT-B/33", "ViT-B-32"), ("tyni", "")]
)
def test_unknown_models_are_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_model(name, None)
    text = one_line(error)
    assert repr(name) in text
    assert f"Did you mean '{hint}'" in text if hint else "'tiny'" in text


def test_unknown_weights_of_a_known_model_are_answered_before_anything_is_built() -> None:
    with pytest.raises(CheckpointError) as error:
        load_model("RN50", "openia")
    assert "Did you mean 'openai'?" in one_line(error)
    with pytest.raises(CheckpointError, match=r"'weights\.pt' are neither a file nor a tag of RN50's"):
        load_model("RN50", "weights.pt")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"vision_cfg": 3, "text_cfg": {}}',
        json.dumps({**SMALL, "vision_cfg": {"image_size": "large"}}),
        json.dumps({**SMALL, "vision_cfg": {"image_size": []}}),
        json.dumps({**SMALL, "vision_cfg": {"image_size": [32, 64]}}),
        json.dumps({**SMALL, "vision_cfg": {"image_size": 0}}),
        json.dumps({**SMALL, "vision_cfg": {"image_size": 10**9}}),
        json.dumps({**SMALL, "vision_cfg": {"no_such_field": 1}}),
        json.dumps({**SMALL, "embed_dim": -1}),
        json.dumps({**SMALL, "embed_dim": "many"}),
        json.dumps({**SMALL, "no_such_field": 1}),
        json.dumps({**SMALL, "text_cfg": {**SMALL["text_cfg"], "heads": 0}}),
        json.dumps({**SMALL, "text_cfg": {**SMALL["text_cfg"], "width": 10**15}}),
        json.dumps(
            {**SMALL, "text_cfg": {**SMALL["text_cfg"], "tokenizer_kwargs": {"trust_remote_code": True}}}
        ),
        json.dumps({**SMALL, "text_cfg": {**SMALL["text_cfg"], "tokenizer_kwargs": "lower"}}),
        json.dumps({"model_cfg": SMALL, "preprocess_cfg": 7}),
        json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"mean": "grey"}}),
        json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5]}}),
        json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"interpolation": "sinc"}}),
    ],
    ids=lambda text: text[-60:] or "empty",
)
def test_configurations_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(CheckpointError) as error:
        load_model(str(path), None)
    one_line(error)


def test_a_huge_configuration_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(" " * (configurations.MAX_CONFIG_BYTES + 1))
    with pytest.raises(CheckpointError, match="larger than"):
        load_model(str(path), None)
