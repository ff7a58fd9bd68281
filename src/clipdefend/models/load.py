"""Models from names, files and folders, and weights into folders.

A checkpoint under suspicion is untrusted input: nothing but tensors is ever read from it, and whatever is
missing, of another shape or not finite is an error. There is no silent fall-back to other weights.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from clipdefend.canvas import RESAMPLING
from clipdefend.draws import draw_seed
from clipdefend.errors import CheckpointError
from clipdefend.models.clip import Architecture, ClipModel, evaluating
from clipdefend.models.weights import first_line, load_weights
from clipdefend.registry import nearest
from clipdefend.runs.files import atomic_write

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
TINY = Path(__file__).parents[1] / "assets" / "tiny"
MAX_CONFIG_BYTES = 1 << 20
MAX_IMAGE_SIZE = 4096
CHECK_TEXTS = ("a red cat", "two bananas")
TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language", "reduction_mask"}


def load_model(name: str, pretrained: str | None, *, seed: int = 0) -> ClipModel:
    """Build a model and load its weights, on the CPU in float32.

    Args:
        name: "tiny"; a name of open_clip's ("RN50", "ViT-B/32"); "local-dir:DIR" or a folder with
            ``open_clip_config.json``; a ``.json`` file with a model configuration; "hf-hub:ORG/REPO".
        pretrained: a tag of open_clip's, a weights file (.safetensors, .pt), "builtin" for tiny's own weights,
            or None or "none" for random weights drawn from ``seed``. A folder brings its own weights when None.
        seed: of random weights.

    Raises:
        CheckpointError: unknown name or tag, missing file, unsafe pickle, wrong keys or shapes.
    """
    if pretrained in (None, "", "none"):
        pretrained = None
    folder = _folder(name)
    if name.startswith("hf-hub:"):
        return _from_open_clip(name, None)
    architecture = read_architecture(name)
    if name not in ("tiny",) and folder is None and not name.endswith(".json"):
        name = name.replace("/", "-")
        if pretrained is not None and not Path(pretrained).is_file():
            return _from_open_clip(name, pretrained)
    model = build_model(architecture, seed=seed)
    weights = _weights_file(name, folder, pretrained)
    if weights is not None:
        load_weights(model, weights)
    return model


def default_weights(name: str) -> str:
    """The ``pretrained`` of a model for which none is given.

    It is "builtin" for tiny; "none" for a folder and for the hub, which bring weights of their own, and for a bare
    configuration, for which there are none; else "openai".
    """
    if name == "tiny":
        return "builtin"
    bare = name.startswith("hf-hub:") or name.endswith(".json") or _folder(name) is not None
    return "none" if bare else "openai"


def is_random(name: str, pretrained: str | None) -> bool:
    """Whether ``load_model`` draws random weights."""
    own = name.startswith("hf-hub:") or _folder(name) is not None
    return pretrained in (None, "", "none") and not own


def _folder(name: str) -> Path | None:
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:"))
    path = Path(name)
    return path if (path / CONFIG_NAME).is_file() else None


def _weights_file(name: str, folder: Path | None, pretrained: str | None) -> Path | None:
    if pretrained == "builtin" and name == "tiny":
        return TINY / "tiny.safetensors"
    if pretrained is not None:
        if not Path(pretrained).is_file():
            none = "random weights" if folder is None else "the folder's own"
            raise CheckpointError(
                f"Pretrained weights {pretrained!r} not found: give a file, a tag of open_clip's for a model"
                f" of its own, 'builtin' with --model tiny, or 'none' for {none}."
            )
        return Path(pretrained)
    if folder is None:
        return None
    found = sorted(p for p in folder.iterdir() if p.name in (WEIGHTS_NAME, "open_clip_pytorch_model.bin"))
    if not found:
        raise CheckpointError(f"Folder {folder} has {CONFIG_NAME} but no {WEIGHTS_NAME}.")
    return found[0]


def read_architecture(name: str) -> Architecture:
    """Configuration of a model by name, folder or JSON file (see ``load_model``)."""
    folder = TINY if name == "tiny" else _folder(name)
    if folder is not None:
        return _read_config(folder / CONFIG_NAME)
    if name.endswith(".json"):
        return _read_config(Path(name))
    import open_clip

    known = open_clip.list_models()
    clean = name.replace("/", "-")
    if clean not in known:
        raise CheckpointError(
            f"Unknown model {name!r}.{nearest(clean, known)} Give a name of open_clip's ({len(known)} known, such as"
            " RN50 or ViT-B-32), 'tiny', 'local-dir:DIR', or a .json configuration."
        )
    return Architecture(copy.deepcopy(open_clip.get_model_config(clean)))


def _read_config(path: Path) -> Architecture:
    if not path.is_file():
        raise CheckpointError(f"Model configuration {path} not found.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise CheckpointError(f"Model configuration {path} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model = config.get("model_cfg", config)
        if not all(isinstance(model[key], dict) for key in ("vision_cfg", "text_cfg")):
            raise TypeError("vision_cfg and text_cfg must be mappings")
        architecture = Architecture(model, dict(config.get("preprocess_cfg") or {}))
        size = model["vision_cfg"].get("image_size")
        if isinstance(size, list) and len(set(size)) != 1:
            raise ValueError(f"image_size is {size}, no square")
        if not 1 <= architecture.image_size <= MAX_IMAGE_SIZE:
            raise ValueError(f"image_size is {architecture.image_size}, not 1 to {MAX_IMAGE_SIZE}")
        if architecture.interpolation not in RESAMPLING:
            raise ValueError(
                f"interpolation {architecture.interpolation!r} is none of {', '.join(RESAMPLING)}"
            )
        return architecture
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path} is no model configuration of open_clip's: {error!s:.200}.") from error


def build_model(architecture: Architecture, *, seed: int = 0) -> ClipModel:
    """Model with random weights drawn from ``seed``. Raises CheckpointError for an impossible configuration."""
    from open_clip import CLIP, CoCa, CustomTextCLIP

    config = copy.deepcopy(architecture.model)
    text = config["text_cfg"]
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False  # the checkpoint brings the weights: nothing is fetched
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if custom else CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw_seed(seed, "init"))
        try:
            return _wrap(kind(**config), architecture)
        except Exception as error:  # whatever it is, it is the configuration that makes open_clip raise it
            raise CheckpointError(f"The model configuration cannot be built: {error!s:.200}.") from error


def _wrap(clip: nn.Module, architecture: Architecture) -> ClipModel:
    return ClipModel(
        clip.to(memory_format=torch.channels_last), architecture, _tokenizer(architecture.model["text_cfg"])
    )


def _tokenizer(text: Mapping[str, Any]) -> Any:
    """The tokenizer that a ``text_cfg`` asks for.

    Its options are of the checkpoint's writer: those that could load code are none of them.
    """
    from open_clip.tokenizer import HFTokenizer

    length, options = text.get("context_length", 77), dict(text.get("tokenizer_kwargs") or {})
    if set(options) - TOKENIZER_OPTIONS:
        raise ValueError(f"tokenizer_kwargs {sorted(options)} are not all of {sorted(TOKENIZER_OPTIONS)}")
    if text.get("hf_tokenizer_name"):
        mode = text.get("tokenizer_mode")
        return HFTokenizer(text["hf_tokenizer_name"], context_length=length, tokenizer_mode=mode, **options)
    return _simple_tokenizer(length, **options)


@cache
def _simple_tokenizer(length: int, **options: Any) -> Any:
    """CLIP's own tokenizer; reading its vocabulary takes a tenth of a second."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=length, **options)
    if options.get("clean", "lower") == "lower":
        tokenizer.clean_fn = partial(_clean_lower, otherwise=tokenizer.clean_fn)
    return tokenizer


def _clean_lower(text: str, otherwise: Callable[[str], str]) -> str:
    """open_clip's cleaning; printable ASCII without entities has nothing to mend, which saves half of the time."""
    plain = text.isascii() and text.isprintable() and "&" not in text
    return " ".join(text.split()).lower() if plain else otherwise(text)


def _from_open_clip(name: str, tag: str | None) -> ClipModel:
    """Models whose weights open_clip fetches: a tag of a built-in name, or a repository of the hub."""
    import open_clip
    from open_clip.factory import _get_hf_config

    known = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    if tag and not known:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise CheckpointError(
            f"Pretrained weights {tag!r} are no file and no tag of {name}'s.{nearest(tag, tags)} It has:"
            f" {', '.join(tags) or 'none'}. Give one of them, a file, or 'none' for random weights."
        )
    # OpenAI's weights and others were trained with QuickGELU, which their models' own names do not say.
    quick = {"quick_gelu": True} if known.get("quick_gelu") else {}
    try:
        clip = open_clip.create_model(
            name, tag, require_pretrained=True, weights_only=True, force_quick_gelu=bool(quick)
        )
        if tag:
            keys = ("mean", "std", "interpolation", "resize_mode")
            model = copy.deepcopy(open_clip.get_model_config(name)) | quick
            architecture = Architecture(model, {key: known[key] for key in keys if key in known})
        else:
            config = _get_hf_config(name.removeprefix("hf-hub:"))
            architecture = Architecture(config["model_cfg"], config.get("preprocess_cfg", {}))
        return _wrap(clip, architecture)
    except Exception as error:  # open_clip raises whatever its downloaders raise
        raise CheckpointError(
            f"Weights {tag or ''!r} of {name} cannot be had: {first_line(error)}. Give a file with --pretrained"
            " FILE, or 'none' for random weights."
        ) from error


def save_model(model: ClipModel, folder: Path, *, note: str | None = None) -> None:
    """Write ``folder`` in open_clip's ``local-dir:`` layout and check that it loads to equal features.

    Args:
        model: on any device.
        folder: made where needed.
        note: warning to go with the weights, in ``WARNING.txt`` and in the metadata of the weights.

    Raises:
        CheckpointError: the folder does not reproduce the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.clip.state_dict().items()}
    metadata = {"format": "pt", **({"warning": note} if note else {})}
    # Not save_file, which makes files that only their owner may read.
    atomic_write(folder / WEIGHTS_NAME, save(state, metadata=metadata))
    atomic_write(folder / CONFIG_NAME, json.dumps(model.architecture.to_dict(), indent=2))
    if note:
        atomic_write(folder / "WARNING.txt", note + "\n")
    if hasattr(model.tokenizer, "save_pretrained"):
        model.tokenizer.save_pretrained(str(folder))
    difference = _reload_difference(model, folder)
    if not difference <= 1e-4:
        raise CheckpointError(
            f"Weights saved to {folder} load to other features (difference {difference:.2g})."
        )


@torch.no_grad()
def _reload_difference(model: ClipModel, folder: Path) -> float:
    """Largest difference between features of 8 images and of some texts before saving and after loading."""
    size = model.image_size
    images = torch.linspace(0, 1, 8 * 3 * size * size).view(8, 3, size, size)
    tokens = model.tokenize(CHECK_TEXTS)
    reloaded = build_model(_read_config(folder / CONFIG_NAME))
    load_weights(reloaded, folder / WEIGHTS_NAME)
    reloaded.to(model.device).eval()
    images, tokens = images.to(model.device), tokens.to(model.device)
    with evaluating(model):
        before = torch.cat([model.encode_image(images), model.encode_text(tokens)])
    # Tokens anew: the tokenizer, too, is what the folder's configuration says.
    loaded_tokens = reloaded.tokenize(CHECK_TEXTS).to(model.device)
    after = torch.cat([reloaded.encode_image(images), reloaded.encode_text(loaded_tokens)])
    return float((before - after).abs().max())
