"""The architecture that weights belong to, from the shapes of their tensors: ``--model auto``.

Shapes do not show the activation, the number of heads or the preprocessing, so that an architecture is certain
only where OpenAI's code wrote the weights, whose rules are known, or where exactly one of open_clip's
configurations has these shapes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clipdefend.errors import CheckpointError
from clipdefend.models.builder import build_clip
from clipdefend.models.clip import Architecture
from clipdefend.models.configurations import read_architecture
from clipdefend.models.weights import Checkpoint

SHOWN = 6
HEAD_WIDTH = 64

Shapes = dict[str, tuple[int, ...]]


def deduce_architecture(checkpoint: Checkpoint) -> tuple[Architecture, str]:
    """The architecture of a checkpoint that brings no configuration.

    Args:
        checkpoint: by ``read_checkpoint``.

    Returns:
        The architecture, and the name of open_clip's that it is, or a description.

    Raises:
        CheckpointError: none or several fit, with the candidates.
    """
    if checkpoint.layout == "openai":
        return _of_openai(checkpoint)
    if "token_embedding.rows" in checkpoint.tensors:
        return read_architecture("tiny"), "tiny"
    found = _matching(checkpoint.tensors)
    if len(found) == 1:
        name, architecture = next(iter(found.items()))
        return architecture, name
    if not found:
        raise CheckpointError(
            f"The architecture of {checkpoint.path} cannot be deduced: no configuration of open_clip's has tensors"
            f" of these names and shapes ({_describe(checkpoint.tensors)}). Name it with --model NAME, or give its"
            " configuration with --model FILE.json."
        )
    shown = ", ".join(list(found)[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    quick = [name for name in found if "quickgelu" in name]
    hint = f" Weights that OpenAI's or CleanCLIP's code trained are {quick[0]}." if quick else ""
    raise CheckpointError(
        f"The architecture of {checkpoint.path} is not certain: its tensors fit {shown}, which differ in what shapes"
        f" do not show.{hint} Name one with --model."
    )


def _of_openai(checkpoint: Checkpoint) -> tuple[Architecture, str]:
    """As ``open_clip.model.build_model_from_openai_state_dict`` reads the sizes from the shapes."""
    tensors = checkpoint.tensors
    try:
        vision = _openai_vision(tensors)
        width = tensors["ln_final.weight"].shape[0]
        model: dict[str, Any] = {
            "embed_dim": tensors["text_projection"].shape[1],
            "quick_gelu": True,
            "vision_cfg": vision,
            "text_cfg": {
                "context_length": tensors["positional_embedding"].shape[0],
                "vocab_size": tensors["token_embedding.weight"].shape[0],
                "width": width,
                "heads": width // HEAD_WIDTH,
                "layers": _blocks(tensors, "transformer.resblocks."),
            },
        }
    except (KeyError, IndexError, ArithmeticError) as error:
        raise CheckpointError(
            f"{checkpoint.path} has entries of OpenAI's archives but is not a CLIP model of theirs: {error!s:.80}."
        ) from error
    fitting = _matching(tensors)
    named = next((name for name, each in fitting.items() if each.model.get("quick_gelu")), None)
    if named is not None:
        return fitting[named], named
    kind = "ResNet" if isinstance(vision["layers"], list) else "ViT"
    return Architecture(model), f"a {kind} of OpenAI's code, {vision['image_size']} pixels, QuickGELU"


def _openai_vision(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if "visual.proj" in tensors:
        conv = tensors["visual.conv1.weight"].shape
        grid = round((tensors["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        layers: Any = _blocks(tensors, "visual.transformer.resblocks.")
        return {"image_size": conv[-1] * grid, "layers": layers, "width": conv[0], "patch_size": conv[-1]}
    grid = round((tensors["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    layers = [_blocks(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)]
    width = tensors["visual.layer1.0.conv1.weight"].shape[0]
    return {"image_size": 32 * grid, "layers": layers, "width": width, "patch_size": None}


def _blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks whose tensors are named PREFIX + NUMBER + a dot."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in tensors if key.startswith(prefix)})


def _matching(tensors: Mapping[str, Tensor]) -> dict[str, Architecture]:
    """The architectures of open_clip's names whose tensors have these shapes; of equal ones the first."""
    import open_clip

    shapes = {key: _shape(tensor) for key, tensor in tensors.items()}
    found: dict[str, Architecture] = {}
    seen: set[str] = set()
    for name in [*open_clip.list_models(), "tiny"]:
        config = read_architecture("tiny").model if name == "tiny" else open_clip.get_model_config(name)
        same = json.dumps(config, sort_keys=True)
        if same in seen or not _may_fit(config, shapes):
            continue
        architecture = read_architecture(name)
        if _shapes_of(architecture) in (shapes, _with_text_apart(shapes)):
            seen.add(same)
            found[name] = architecture
    return found


def _may_fit(config: Mapping[str, Any], shapes: Shapes) -> bool:
    """Whether a configuration has the text tower of the shapes: cheap, and leaves few to be built."""
    text = config["text_cfg"]
    if "hf_model_name" in text or "multimodal_cfg" in config:  # whose configurations lie on the hub
        return False
    apart = "text." if "text.ln_final.weight" in shapes else ""
    embedding = shapes.get(f"{apart}token_embedding.weight")
    wanted = (text.get("vocab_size", 49408), text.get("width", 512))
    if embedding != wanted:
        return False
    patch, conv = config["vision_cfg"].get("patch_size"), shapes.get("visual.conv1.weight")
    timm = "timm_model_name" in config["vision_cfg"]
    return timm != (conv is not None) and (timm or patch is None or (conv is not None and conv[-1] == patch))


def _shapes_of(architecture: Architecture) -> Shapes:
    """Names and shapes of a model's tensors, without memory or numbers for them."""
    model = copy.deepcopy(architecture)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        state = build_clip(model).state_dict()
    return {key: _shape(tensor) for key, tensor in state.items()}


def _with_text_apart(shapes: Shapes) -> Shapes:
    """Names of a model whose text tower stands under ``text.``."""
    image = ("visual.", "logit_", "text.")
    return {key if key.startswith(image) else f"text.{key}": shape for key, shape in shapes.items()}


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape) if tensor.numel() > 1 else ()


def _describe(tensors: Mapping[str, Tensor]) -> str:
    some = [f"{key} {tuple(tensor.shape)}" for key, tensor in list(tensors.items())[:2]]
    return f"{len(tensors)} tensors, such as {' and '.join(some)}" if some else "no tensors"
