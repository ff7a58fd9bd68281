"""Models with random weights, from configurations."""

from __future__ import annotations

import copy

import torch
from torch import nn

from clipdefend.draws import draw_seed
from clipdefend.errors import CheckpointError
from clipdefend.models.clip import Architecture, ClipModel
from clipdefend.models.siglip_tower import register_tower
from clipdefend.models.tokenizing import make_tokenizer


def build_model(architecture: Architecture, *, seed: int = 0) -> ClipModel:
    """Build a model with random weights, on the CPU in float32.

    Args:
        architecture: of any origin; nothing that it names is fetched, save a tokenizer of the hub.
        seed: the weights are a function of it.

    Raises:
        CheckpointError: a configuration that open_clip cannot build, or whose image tower does not take images
            of the configured size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw_seed(seed, "init"))
        try:
            return wrap(build_clip(architecture), architecture)
        except CheckpointError:
            raise
        except Exception as error:  # whatever it is, it is the configuration that makes open_clip raise it
            raise CheckpointError(f"The model configuration cannot be built: {error!s:.200}.") from error


def build_clip(architecture: Architecture) -> nn.Module:
    from open_clip import CLIP, CoCa, CustomTextCLIP

    config = copy.deepcopy(architecture.model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False  # the checkpoint brings the weights: nothing is fetched
    tower = vision.get("timm_model_name")
    if tower is not None:
        if ":" in str(tower) or "/" in str(tower):  # timm would fetch a configuration, or read one elsewhere
            raise ValueError(f"timm_model_name {tower!r:.80} is a place, not the name of a model of timm's")
        vision["timm_model_pretrained"] = False
        register_tower(str(tower))
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if custom else CLIP
    clip: nn.Module = kind(**config)
    if tower is not None:
        _check_image_size(clip, architecture.image_size)
    return clip


def _check_image_size(clip: nn.Module, size: int) -> None:
    """Raise CheckpointError if one of timm's towers, which have their own sizes, refuses the configured size.

    The tower runs on shapes alone, without numbers (the meta device).
    """
    visual = clip.get_submodule("visual")
    state = {
        name: tensor.to("meta") for name, tensor in (*visual.named_parameters(), *visual.named_buffers())
    }
    training = visual.training
    try:
        visual.eval()
        with torch.no_grad():
            torch.func.functional_call(visual, state, (torch.zeros(1, 3, size, size, device="meta"),))
    except NotImplementedError:  # an operation without a shape rule proves nothing
        pass
    except Exception as error:
        raise CheckpointError(
            f"The image tower does not take the configuration's images of {size} x {size} pixels: {error!s:.120}."
            " Set vision_cfg.image_size to the tower's own size, or name the tower of that size."
        ) from error
    finally:
        visual.train(training)


def wrap(clip: nn.Module, architecture: Architecture) -> ClipModel:
    """open_clip's model as clipdefend uses it, with the tokenizer that its configuration asks for."""
    tokenizer = make_tokenizer(architecture.model["text_cfg"], architecture.folder)
    return ClipModel(clip.to(memory_format=architecture.memory_format), architecture, tokenizer)
