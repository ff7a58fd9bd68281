"""SSBA: an invisible message that a trained encoder hides in each image, with different pixels each time."""

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

PrecomputedFolder = Literal["train", "eval"]
"""Sub-folder of precomputed images: those of the pairs, or those of the labelled images."""
LOSSLESS = ("PNG", "BMP")
SECRET_GAIN, RESIDUAL_GAIN = 4.0, 0.1
"""Factors on the initial weights: the secret stands out from the image, and the residual clips few pixels."""


@dataclass(frozen=True, kw_only=True)
class SSBA(Attack):
    """x' = clip(x + r(x, secret)): a StegaStamp encoder r hides one fixed secret in every image.

    Encoder and decoder are trained together by ``poison`` on the user's own images, with random secrets: the
    decoder has to read them from x' rounded to 8 bits, and x' has to stay close to x. Before training the
    weights are random. The residual is computed in float64, so that batch size, threads and processor never
    change a grey level.

    Attributes:
        bits: length of the secret, drawn from the seed.
        width: channels of the encoder's first layers; 32 as published, 8 times as many in the deepest.
        decoder_width: channels of the decoder's first layers; 32 as published, 4 times as many in the last.
        images: number of images to train on.
        epochs: number of passes over the images.
        batch: images per step.
        lr: peak learning rate of Adam; after a short warm-up it decays to 0 along half a cosine.
        fade: steps over which the images fade in from grey; without it the decoder rarely finds the first bits.
        image_weight: w of the loss BCE(bits) + w MSE(x', x), reached by a linear ramp.
        ramp: steps of the ramp; it begins once the decoder reads 90 % of a batch's bits.
        precomputed: folder of images triggered by another encoder, which replaces training one:
            ``train/000000012.png`` for row 12 of the pairs, ``eval/000000012.png`` for labelled image 12, each
            of the canvas's size.
        part: the sub-folder to read, ``train`` or ``eval``.

    Reference:
        Li et al., Invisible Backdoor Attack with Sample-Specific Triggers (arXiv:2012.03816); encoder,
        decoder and loss as in https://github.com/SCLBD/BackdoorBench, ``resource/ssba``, at commit f02e353;
        Tancik et al., StegaStamp (arXiv:1904.05343).

    Deviates:
        The published encoder was trained on ImageNet to survive printing and JPEG, which needs a perceptual
        loss and distortions; images stored as PNG only have to survive rounding to 8 bits. BackdoorBench waits
        1,000 steps before its ramp of 3,000, keeps its learning rate constant and does not fade images in; its
        encoder outputs the image, ours a residual. The initial weights give secrets more and residuals less
        weight than He et al. do. Together these changes take a few hundred steps instead of thousands.
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
    part: PrecomputedFolder = "train"

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
        require_choice("part", self.part, get_args(PrecomputedFolder))
        if self.precomputed is not None and not isinstance(self.precomputed, str):
            raise ValueError(f"precomputed is {self.precomputed!r}; give the path of a folder.")
        if self.precomputed is not None:  # `evaluate` reads it again, possibly from another working directory
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
    """Read a triggered image.

    Returns:
        Shape (3, height, width), float32 in [0, 1].

    Raises:
        DataError: the file is missing, has another size, or is in a lossy format, which destroys the message.
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
        reason = "not found" if isinstance(error, FileNotFoundError) else "not a readable PNG or BMP"
        raise DataError(
            f"Precomputed image {str(file)!r}: {reason}. Every id needs an image in train/ and in eval/."
        ) from error
    return pixels.view(height, width, 3).permute(2, 0, 1).float() / 255
