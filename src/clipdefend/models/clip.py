"""A CLIP model as clipdefend uses it: pixels in [0, 1] and tokens in, unit vectors out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_LOGIT_SCALE = math.log(100)
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Architecture:
    """What open_clip needs to build a model again.

    Attributes:
        model: ``model_cfg`` of ``open_clip_config.json``.
        preprocess: its ``preprocess_cfg``.
        folder: where it was read from, if from a folder: files of its tokenizer may lie there.
    """

    model: dict[str, Any]
    preprocess: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        size = self.model["vision_cfg"].get("image_size", 224)
        return int(size[0] if isinstance(size, (list, tuple)) else size)

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of images and convolutions: channels last is faster, except that MobileCLIP's towers crash in it.

        PyTorch 2.14 frees memory twice in the backward pass of FastViT's convolutions in that layout, on the CPU.
        """
        tower = str(self.model["vision_cfg"].get("timm_model_name", ""))
        return torch.contiguous_format if tower.startswith("fastvit") else torch.channels_last

    @property
    def interpolation(self) -> str:
        """How images are resized; "random", drawn anew for each training image, is bicubic in use, as in open_clip."""
        name = str(self.preprocess.get("interpolation", "bicubic"))
        return "bicubic" if name == "random" else name

    def to_dict(self) -> dict[str, Any]:
        """The content of ``open_clip_config.json``."""
        return {"model_cfg": self.model, "preprocess_cfg": self.preprocess}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode within a ``with`` block, then each module back into its own mode.

    ``model.train()`` would not do: with ``--batch-norm eval`` the batch norms of a model in training are not.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class ClipModel(nn.Module):
    """open_clip's model with one forward pass for any number of image and text views.

    All views of a step go through a tower in one call, so that wrappers of the module (several processes,
    compilation) see every forward pass, and batch statistics are those of the whole step.

    Args:
        clip: open_clip's ``CLIP``, ``CustomTextCLIP`` or ``CoCa``.
        architecture: its configuration, saved with the weights.
        tokenize: list of strings -> tokens (n, context length), end token the highest id.

    Attributes:
        layout: memory format of images and convolutions.
        remarks: what is odd about the weights that were loaded, a sentence each, shown as warnings.
        notes: what was recognised or assumed when it was loaded, a sentence each, for people.
    """

    mean: Tensor
    std: Tensor
    remarks: list[str]
    notes: list[str]

    def __init__(
        self, clip: nn.Module, architecture: Architecture, tokenize: Callable[[list[str]], Tensor]
    ) -> None:
        super().__init__()
        self.clip: Any = clip  # which attributes it has depends on the architecture
        self.architecture = architecture
        self._tokenize = tokenize
        self.layout = architecture.memory_format
        self.remarks = []
        self.notes = []
        for name, default in (("mean", OPENAI_MEAN), ("std", OPENAI_STD)):
            values = torch.tensor(architecture.preprocess.get(name, default), dtype=torch.float32)
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)

    @property
    def image_size(self) -> int:
        return self.architecture.image_size

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Tokens of texts, (n, context length); the tokenizer cuts long ones and keeps the end token."""
        return self._tokenize(list(texts))

    @property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        return self._tokenize

    def forward(
        self, images: Tensor | None = None, tokens: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Encode images and texts.

        Args:
            images: (n, 3, h, w), uint8, or float in [0, 1]; normalised here.
            tokens: (m, length), integers.

        Returns:
            Unit image vectors (n, d) or None, unit text vectors (m, d) or None, scale () = exp(logit_scale),
            at most 100.
        """
        image = None if images is None else self._encode_image(images)
        text = None if tokens is None else self._encode_text(tokens)
        return image, text, self.clip.logit_scale.exp().clamp(max=100)

    def image_features(self, images: Tensor) -> Tensor:
        """Outputs of the image tower (n, d), not normalised: for evaluation."""
        return self._image_features(images)

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit image vectors (n, d), without the wrapper of several processes: for evaluation."""
        return self._encode_image(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit text vectors (m, d), without the wrapper of several processes: for evaluation."""
        return self._encode_text(tokens)

    def set_layout(self, layout: torch.memory_format) -> None:
        """Change the memory format of images and convolutions; no value changes but by rounding."""
        self.layout = layout
        self.clip.to(memory_format=layout)

    def _encode_image(self, images: Tensor) -> Tensor:
        return F.normalize(self._image_features(images), dim=-1)

    def _image_features(self, images: Tensor) -> Tensor:
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images
        pixels = ((pixels - self.mean) / self.std).contiguous(memory_format=self.layout)
        return self.clip.encode_image(pixels).float()  # type: ignore[no-any-return]

    def _encode_text(self, tokens: Tensor) -> Tensor:
        if _is_causal(self.clip):
            return F.normalize(_encode_cut_text(self.clip, tokens).float(), dim=-1)
        return F.normalize(self.clip.encode_text(tokens).float(), dim=-1)

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep logit_scale in [0, ln 100] after a step, as CLIP does."""
        self.clip.logit_scale.clamp_(0, MAX_LOGIT_SCALE)


def cut(tokens: Tensor) -> Tensor:
    """Cut padded tokens (n, length) after the last end token, which saves work and does not change results."""
    return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]


def _is_causal(clip: nn.Module) -> bool:
    """Whether tokens after the end token cannot change the embedding, and the tower is open_clip's own."""
    from open_clip.model import CLIP

    return isinstance(clip, CLIP) and clip.attn_mask is not None and clip.text_pool_type == "argmax"


def _encode_cut_text(clip: Any, tokens: Tensor) -> Tensor:
    """open_clip's ``CLIP.encode_text`` on a batch cut to its longest caption.

    The tower is causal and pooled at the end token, so nothing after the last end token affects the result.
    """
    tokens = cut(tokens)
    length = tokens.shape[1]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    x = clip.ln_final(x)
    x = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=1)]
    projection = clip.text_projection
    if projection is None:
        return x  # type: ignore[no-any-return]
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection  # type: ignore[no-any-return]
