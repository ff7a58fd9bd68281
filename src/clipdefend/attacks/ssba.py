"""SSBA: an invisible message, other pixels in every image, written by a trained encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from clipdefend.attacks.attack import Attack, require_choice, require_number
from clipdefend.attacks.patterns import uniform
from clipdefend.attacks.stegastamp import (
    decoder_shapes,
    encoder_shapes,
    initial_weights,
    residual,
)
from clipdefend.errors import DataError

Part = Literal["train", "eval"]
LOSSLESS = ("PNG", "BMP")
SECRET_GAIN, RESIDUAL_GAIN = 4.0, 0.1
"""Factors on the first weights: the secret stands out from the image, and the residual clips few pixels."""


@dataclass(frozen=True, kw_only=True)
class SSBA(Attack):
    """x' = clip(x + r(x, secret)): a StegaStamp encoder r hides one fixed secret in every image.

    Encoder and decoder are trained together by ``poison`` on the user's own images, with random secrets: the
    decoder has to read them from x' rounded to 8 bits, and x' has to stay near x. Until then the weights are
    random. The residual is computed in float64, so that neither batches nor threads nor the kind of processor
    change a grey level.

    Attributes:
        bits: length of the secret, drawn from the seed.
        width: channels of the encoder's first layers; 32 as published, 8 times as many in the deepest.
        decoder_width: channels of the decoder's first layers; 32 as published, 4 times as many in the last.
        images: number of images to train on.
        epochs: passes over them.
        batch: images of a step.
        lr: peak learning rate of Adam; after a short warm-up it falls to 0 by half a cosine.
        fade: steps over which the images fade in from grey, so that the first bits are found at all.
        image_weight: w of the loss BCE(bits) + w MSE(x', x), reached by a linear ramp.
        ramp: steps of the ramp; it begins when nine tenths of a batch's bits are read.
        precomputed: folder with triggered images of another encoder, in place of a trained one: image
            ``train/000000012.png`` for row 12 of the pairs, ``eval/000000012.png`` for labelled image 12, of
            the canvas's size.
        part: which of the two sub-folders.

    Reference:
        Li et al., Invisible Backdoor Attack with Sample-Specific Triggers (arXiv:2012.03816); encoder,
        decoder and loss as in https://github.com/SCLBD/BackdoorBench, ``resource/ssba``, at commit f02e353;
        Tancik et al., StegaStamp (arXiv:1904.05343).

    Deviates:
        The published encoder was trained on ImageNet against printing and JPEG, which needs a perceptual loss
        and distortions; stored as PNG, only 8 bits have to be survived. BackdoorBench waits 1,000 steps
        before its ramp of 3,000, keeps its learning rate and has no fade; its default output is the image
        itself, here it is a residual. Secrets weigh more and residuals less in the first weights than He et
        al. have it. Together these make a few hundred steps do where thousands were needed.
    """

    bits: int = 100
    width: int = 32
    decoder_width: int = 32
    images: int = 10_000
    epochs: int = 20
    batch: int = 64
    lr: float = 1e-4
    fade: int = 1000
    image_weight: float = 10.0
    ramp: int = 3000
    precomputed: str | None = None
    part: Part = "train"

    def __post_init__(self) -> None:
        require_number("bits", self.bits, 1, 1024, integer=True)
        require_number("width", self.width, 1, 1024, integer=True)
        require_number("decoder_width", self.decoder_width, 1, 1024, integer=True)
        require_number("images", self.images, 1, 100_000_000, integer=True)
        require_number("epochs", self.epochs, 1, 1_000_000, integer=True)
        require_number("batch", self.batch, 1, 1_000_000, integer=True)
        require_number("lr", self.lr, 1e-12, 1)
        require_number("fade", self.fade, 0, 10_000_000, integer=True)
        require_number("image_weight", self.image_weight, 0, 1e6)
        require_number("ramp", self.ramp, 0, 10_000_000, integer=True)
        require_choice("part", self.part, get_args(Part))
        if self.precomputed is not None and not isinstance(self.precomputed, str):
            raise ValueError(f"precomputed is {self.precomputed!r}; give the path of a folder.")
        if self.precomputed is not None:  # evaluate reads it again, and may run in another folder
            object.__setattr__(self, "precomputed", str(Path(self.precomputed).resolve()))

    @property
    def learned(self) -> bool:
        return self.precomputed is None

    def for_evaluation(self) -> SSBA:
        return dataclasses.replace(self, part="eval")

    def for_training(self) -> SSBA:
        return dataclasses.replace(self, part="train")

    def tensors(self, size: int, seed: int) -> dict[str, Tensor]:
        """Return ``secret`` of shape (bits,), 0 and 1, and the weights of encoder and decoder."""
        if self.precomputed is not None:
            return {}
        decoder = decoder_shapes(self.bits, self.decoder_width, size)
        shapes = encoder_shapes(self.bits, self.width) | decoder
        secret = uniform((self.bits,), seed, "ssba-secret").round()
        weights = initial_weights(shapes, seed)
        weights["secret.weight"] *= SECRET_GAIN
        weights["residual.weight"] *= RESIDUAL_GAIN
        return {"secret": secret, **weights}

    def stamp(self, images: Tensor, ids: Sequence[int], seed: int, tensors: Mapping[str, Tensor]) -> Tensor:
        if self.precomputed is not None:
            height, width = images.shape[2:]
            folder = Path(self.precomputed) / self.part
            read = [read_precomputed(folder / f"{key:09d}.png", height, width) for key in ids]
            return torch.stack(read).to(images.device)
        names = encoder_shapes(self.bits, self.width)
        exact = {name: tensors[name].double() for name in names}
        secret = tensors["secret"].double()[None]
        # Single images: the large intermediate results of a batch would leave the processor's cache.
        added = [residual(image[None].double(), secret, exact) for image in images]
        return images.double() + torch.cat(added)


def read_precomputed(file: Path, height: int, width: int) -> Tensor:
    """Read a triggered image, shape (3, height, width), float32 in [0, 1].

    Raises:
        DataError: missing, of another size, or of a format that loses the message.
    """
    try:
        with Image.open(file, formats=LOSSLESS) as picture:
            if picture.size != (width, height):
                raise DataError(
                    f"Precomputed image {str(file)!r} has {picture.width} x {picture.height} pixels: give"
                    f" {width} x {height}, the canvas."
                )
            pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else "no readable PNG or BMP"
        raise DataError(
            f"Precomputed image {str(file)!r}: {reason}. Give an image for every id in train/ and in eval/."
        ) from error
    return pixels.view(height, width, 3).permute(2, 0, 1).float() / 255
