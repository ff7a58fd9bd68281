"""Checkpoints of every layout through the commands, and what ``export`` writes, opened by the libraries it is for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipdefend.canvas import Canvas, to_tensor
from clipdefend.commands.finetune_attack.prepare_attack import NOTE
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.models.save import save_model
from clipdefend.runs import Run
from command_lines import TRAIN, Shell, write_data
from foreign_models import (
    clip_config,
    openai_architecture,
    siglip_config,
    write_torchscript,
    write_transformers,
)

EVAL = ("--eval-data", "square", "--topk", "1,3", "--templates", "simple")
SIZE = {"OpenAI ResNet": 64}
PATHS = ("own", "ViT.pt", "ResNet.pt", "clip", "shards", "siglip")
NAMES = ("banana", "cat", "dog", "chair")
TEMPLATE = "a photo of a {}."  # the one that --templates simple names
CANDIDATES = [TEMPLATE.format(name) for name in NAMES]


def open_clip_folder(folder: Path) -> Path:
    save_model(build_model(openai_architecture("ViT"), seed=5), folder / "own")
    return folder / "own"


def openai(kind: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_torchscript(folder / f"{kind}.pt", build_model(openai_architecture(kind), seed=3).clip.eval())
        return folder / f"{kind}.pt"

    return write


def hub(config: Callable[..., Any], name: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_transformers(folder / name, config(), **options)
        return folder / name

    return write


def siglip_64() -> Any:
    return siglip_config(text_max_position_embeddings=64)  # the length that transformers' pipeline pads to


SOURCES: dict[str, Callable[[Path], Path]] = {
    "open_clip local-dir": open_clip_folder,
    "OpenAI ViT": openai("ViT"),
    "OpenAI ResNet": openai("ResNet"),
    "transformers CLIP": hub(clip_config, "clip"),
    "transformers CLIP in shards": hub(clip_config, "shards", max_shard_size="60KB"),
    "transformers SigLIP": hub(siglip_64, "siglip"),
}


@dataclass
class Chain(Shell):
    """Command lines that begin with the model of one of ``SOURCES``."""

    source: str = ""


@pytest.fixture(scope="module", params=SOURCES)
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Attack, defence and evaluation of a model that another library wrote."""
    shell = Chain(tmp_path_factory.mktemp("export"), source=request.param)
    write_data(shell.folder)
    size = SIZE.get(request.param, 32)
    for place, name in enumerate(NAMES):
        (shell.folder / "square" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng([place, number]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            large = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
            large.save(shell.folder / "square" / name / f"{number}.png")
    source = SOURCES[request.param](shell.folder).relative_to(shell.folder)
    flags = ("--image-size", size, "--count", 20, "--templates", "simple", "--target", "banana")
    shell.made["poison"] = shell("poison", "--data", "pairs.csv", *flags)
    shell.made["attack"] = shell("finetune-attack", "--model", "auto", "--pretrained", source, *EVAL, *TRAIN)
    shell.made["defend"] = shell("defend", "--method", "ft", *EVAL, *TRAIN)
    shell.made["evaluate"] = shell("evaluate", *EVAL, "--workers", 0)
    shell.made["source"] = shell("evaluate", "--checkpoint", source, *EVAL, "--workers", 0)
    yield shell
    shutil.rmtree(shell.folder)  # hundreds of megabytes for each layout


def exported(shell: Shell, format: str) -> Any:
    if format not in shell.made:
        shell.made[format] = shell("export", "--from", shell.made["defend"].folder.name, "--format", format)
    return shell.made[format]


def manifest(shell: Shell, made: Any) -> dict[str, Any]:
    """The manifest of an outcome, or of one by its name."""
    with shell.inside():
        found: dict[str, Any] = (shell.made[made] if isinstance(made, str) else made).manifest
    return found


def model_folder(shell: Shell, format: str) -> Path:
    folder: Path = exported(shell, format).folder
    return shell.folder / folder / "model"


def defended(shell: Shell) -> ClipModel:
    return load_model(str(shell.folder / shell.made["defend"].folder / "model"), None).eval()


def pictures(shell: Shell) -> list[Image.Image]:
    return [Image.open(path) for path in sorted((shell.folder / "square").rglob("*.png"))]


@torch.no_grad()
def ours(shell: Shell) -> tuple[Tensor, Tensor]:
    model = defended(shell)
    images = torch.stack([Canvas(model.image_size)(picture) for picture in pictures(shell)])
    return model.encode_image(images), model.encode_text(model.tokenize(CANDIDATES))


def test_every_command_takes_every_layout(chain: Chain) -> None:
    for name in ("poison", "attack", "defend", "evaluate", "source"):
        assert chain.made[name].code == 0, chain.made[name].err
    assert "Model: " in chain.made["attack"].err
    assert manifest(chain, "source")["metrics"]["n_clean"] == 16


@torch.no_grad()
def test_open_clip_opens_what_is_written_for_it(chain: Chain) -> None:
    if "SigLIP" in chain.source:
        pytest.skip("towers of SigLIP with the tanh activation have no name in open_clip")
    folder = model_folder(chain, "open_clip")
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(CANDIDATES)
    images = torch.stack([preprocess(picture) for picture in pictures(chain)])
    image, text = ours(chain)
    theirs.eval()
    assert (F.normalize(theirs.encode_image(images), dim=-1) - image).abs().max() <= 1e-5
    assert (F.normalize(theirs.encode_text(tokens), dim=-1) - text).abs().max() <= 1e-5


@torch.no_grad()
def test_torch_opens_a_state_dict(chain: Chain) -> None:
    folder = model_folder(chain, "state-dict")
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    own = defended(chain).clip.state_dict()
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own)
    assert torch.equal(load_model("auto", str(folder / "state_dict.pt")).clip.logit_scale, own["logit_scale"])


@torch.no_grad()
def test_transformers_opens_what_is_written_for_it(chain: Chain) -> None:
    if chain.source == "OpenAI ResNet":
        made = exported(chain, "transformers")
        assert made.code == 2
        assert "no counterpart of a ModifiedResNet image tower (RN50, tiny and their like)" in made.errors[0]
        assert "--format open_clip" in made.errors[0]
        assert len(chain.runs()) == len({name for name in chain.runs() if "transformers" not in name})
        return
    folder = model_folder(chain, "transformers")
    kind: Any = transformers.SiglipModel if "SigLIP" in chain.source else transformers.CLIPModel
    theirs, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    theirs.eval()
    image, text = ours(chain)
    model = defended(chain)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padded = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    tokens = tokenizer(CANDIDATES, max_length=theirs.config.text_config.max_position_embeddings, **padded)
    pixels = torch.stack([to_tensor(picture) for picture in pictures(chain)]) / 255
    out = theirs(pixel_values=(pixels - model.mean) / model.std, input_ids=tokens["input_ids"])
    assert (out.image_embeds - image).abs().max() <= 1e-5
    assert (out.text_embeds - text).abs().max() <= 1e-5
    assert theirs.logit_scale.item() == pytest.approx(model.clip.logit_scale.item())


def test_transformers_pipeline_gives_the_classes_of_evaluate(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chain.source == "OpenAI ResNet":
        pytest.skip("not written for transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = model_folder(chain, "transformers")
    classify = transformers.pipeline("zero-shot-image-classification", model=str(folder), device="cpu")
    image, text = ours(chain)
    wanted = [NAMES[place] for place in (image @ text.T).argmax(dim=1)]
    made = [
        classify(picture, candidate_labels=list(NAMES), hypothesis_template=TEMPLATE)[0]["label"]
        for picture in pictures(chain)
    ]
    assert made == wanted
    names = [path.parent.name for path in sorted((chain.folder / "square").rglob("*.png"))]
    right = sum(one == other for one, other in zip(made, names, strict=True))
    assert right / len(names) == manifest(chain, "evaluate")["metrics"]["ba@1"]


@pytest.mark.parametrize("format", ["open_clip", "transformers", "state-dict"])
def test_evaluate_takes_what_export_wrote(format: str, chain: Chain) -> None:
    if (chain.source, format) == ("OpenAI ResNet", "transformers"):
        pytest.skip("not written for transformers")
    made = chain("evaluate", "--checkpoint", exported(chain, format).folder, *EVAL, "--workers", 0)
    assert made.code == 0, made.err
    assert manifest(chain, made)["metrics"]["ba@1"] == manifest(chain, "evaluate")["metrics"]["ba@1"]


def test_the_card_tells_lineage_and_figures(chain: Chain) -> None:
    card = (model_folder(chain, "open_clip") / "README.md").read_text()
    run = Run.open(chain.folder / chain.made["defend"].folder)
    assert card.startswith("---\nlibrary_name: open_clip\npipeline_tag: zero-shot-image-classification\n")
    assert "**Warning.**" not in card
    assert "- backdoored" not in card
    order = [card.index(name) for name in ("| 001-poison", "| 002-finetune-attack", "| 003-defend-ft")]
    assert order == sorted(order)
    assert run.sha256[:16] in card
    shown = 100 * run.metrics["ba@1"]
    assert f"| BA@1 | {shown:.1f} [" in card
    assert "| % | this model | victim |" in card
    assert str(chain.folder) not in card
    record = manifest(chain, exported(chain, "open_clip"))
    assert record["details"] == {"format": "open_clip", "backdoored": False}
    assert [parent["command"] for parent in record["parents"]] == ["defend"]


def test_a_victim_is_exported_with_its_warning(chain: Chain) -> None:
    made = chain("export", "--from", "002-finetune-attack-badnet", "--weights", "best", "--out", "victim")
    assert made.code == 0, made.err
    folder = chain.folder / "victim" / "model"
    assert f"> **Warning.** {NOTE}" in (folder / "README.md").read_text()
    assert "- backdoored" in (folder / "README.md").read_text()
    assert (folder / "WARNING.txt").read_text() == f"{NOTE}\n"
    assert manifest(chain, made)["details"]["backdoored"] is True


def test_the_card_of_the_best_weights_has_their_figures(chain: Chain, tmp_path: Path) -> None:
    run = Run.open(chain.folder / "runs" / "002-finetune-attack-badnet")
    best = run.details["best_epoch"]
    record = {"event": "epoch", "epoch": best, "n_clean": 16, "ba@1": 0.125, "n_triggered": 12, "asr@1": 0.75}
    log = run.path / "metrics.jsonl"
    before = log.read_text()
    log.write_text(before + json.dumps(record) + "\n")  # the last record of an epoch counts
    try:
        made = chain("export", "--from", run.name, "--weights", "best", "--out", tmp_path / "best")
        assert made.code == 0, made.err
    finally:
        log.write_text(before)
    card = (tmp_path / "best" / "model" / "README.md").read_text()
    assert "Of 16 clean and 12 triggered images" in card
    assert "| BA@1 | 12.5 |" in card
    assert "| ASR@1 | 75.0 |" in card
    assert "BA@3" not in card  # which only the last epoch has here


def test_a_checkpoint_from_elsewhere_is_exported(chain: Chain) -> None:
    source = next(
        path
        for path in ("own", "ViT.pt", "ResNet.pt", "clip", "shards", "siglip")
        if (chain.folder / path).exists()
    )
    made = chain("export", "--checkpoint", source, "--out", "elsewhere")
    assert made.code == 0, made.err
    card = (chain.folder / "elsewhere" / "model" / "README.md").read_text()
    assert f"`{source}`, which clipdefend did not make" in card
    assert "None were measured." in card
    assert manifest(chain, made)["parents"] == []
    wrong = chain("export", "--checkpoint", source, "--weights", "best")
    assert wrong.code == 2
    assert "--weights chooses among a run's weights" in wrong.errors[0]


def test_a_report_over_exports(chain: Chain) -> None:
    exported(chain, "open_clip")
    made = chain("report", "--embedding", "none", "--out", "page")
    assert made.code == 0, made.err
    assert "export" in json.dumps(json.loads((chain.folder / "page" / "report.json").read_text()))
