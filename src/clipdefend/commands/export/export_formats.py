"""The formats that ``export`` writes, one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clipdefend.models.clip import ClipModel
from clipdefend.models.save import save_model, save_state_dict, save_transformers
from clipdefend.models.transformers_export import transformers_config


class Writer(Protocol):
    """Writes a model to a folder, with a warning if there is one, and checks that it can be loaded."""

    def __call__(self, model: ClipModel, folder: Path, *, note: str | None = None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of exported models.

    Attributes:
        library: the library that opens it, as model hubs call it.
        write: see ``Writer``.
        usage: Python lines that open the folder ``model``.
        check: raises CheckpointError for a model that cannot be written in this format.
    """

    library: str
    write: Writer
    usage: str
    check: Callable[[ClipModel], object] = lambda model: None


_OPEN_CLIP = """\
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:model")
tokenizer = open_clip.get_tokenizer("local-dir:model")"""

_TRANSFORMERS = """\
from transformers import pipeline

classify = pipeline("zero-shot-image-classification", model="model")
classify("photo.jpg", candidate_labels=["cat", "dog"], hypothesis_template="a photo of a {}.")"""

_STATE_DICT = """\
import json
import open_clip
import torch

config = json.load(open("model/open_clip_config.json"))["model_cfg"]
kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
model = kind(**config)
model.load_state_dict(torch.load("model/state_dict.pt", weights_only=True))"""

FORMATS: dict[str, Format] = {
    "open_clip": Format(library="open_clip", write=save_model, usage=_OPEN_CLIP),
    "transformers": Format(
        library="transformers", write=save_transformers, usage=_TRANSFORMERS, check=transformers_config
    ),
    "state-dict": Format(library="open_clip", write=save_state_dict, usage=_STATE_DICT),
}
