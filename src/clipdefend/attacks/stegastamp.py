"""StegaStamp's encoder and decoder as pure functions of images, bits and named weights.

They are functions instead of modules so that training, the poison run's file and the attack all share one
mapping of names to tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from clipdefend.attacks.patterns import normal

GRID = 16
"""The secret is spread over 3 x 16 x 16 values before it is enlarged to the image."""
HIDDEN = 512
"""Width of the decoder's inner dense layer."""
STRIDES = (2, 1, 2, 1, 2, 2, 2)
SMALLEST = 8
"""Maps of this side or less are not halved any further: at 224 pixels the decoder ends with 7 x 7."""

Shapes = dict[str, tuple[int, ...]]


def encoder_shapes(bits: int, width: int) -> Shapes:
    """Return the weights' shapes of the encoder: w, w, 2w, 4w, 8w channels down, 4w, 2w, w, w up; w = width."""
    w = width
    convolutions = {
        "conv1": (w, 6, 3),
        "conv2": (w, w, 3),
        "conv3": (2 * w, w, 3),
        "conv4": (4 * w, 2 * w, 3),
        "conv5": (8 * w, 4 * w, 3),
        "up6": (4 * w, 8 * w, 2),
        "conv6": (4 * w, 8 * w, 3),
        "up7": (2 * w, 4 * w, 2),
        "conv7": (2 * w, 4 * w, 3),
        "up8": (w, 2 * w, 2),
        "conv8": (w, 2 * w, 3),
        "up9": (w, w, 2),
        "conv9": (w, 2 * w + 6, 3),
        "conv10": (w, w, 3),
        "residual": (3, w, 1),
    }
    return {
        "secret.weight": (3 * GRID * GRID, bits),
        "secret.bias": (3 * GRID * GRID,),
        **_square(convolutions),
    }


def decoder_shapes(bits: int, width: int, size: int) -> Shapes:
    """Return the weights' shapes of the decoder for images of size x size pixels: w, w, 2w, 2w, 2w, 4w, 4w."""
    w, (_, side) = width, strides(size)
    convolutions = {
        "decode1": (w, 3, 3),
        "decode2": (w, w, 3),
        "decode3": (2 * w, w, 3),
        "decode4": (2 * w, 2 * w, 3),
        "decode5": (2 * w, 2 * w, 3),
        "decode6": (4 * w, 2 * w, 3),
        "decode7": (4 * w, 4 * w, 3),
    }
    return {
        **_square(convolutions),
        "dense.weight": (HIDDEN, 4 * w * side * side),
        "dense.bias": (HIDDEN,),
        "bits.weight": (bits, HIDDEN),
        "bits.bias": (bits,),
    }


def initial_weights(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Draw weights from N(0, 2 / fan-in) (He et al.) and set biases to 0, float32."""
    weights = {}
    for name, shape in shapes.items():
        if name.endswith(".bias"):
            weights[name] = torch.zeros(shape)
        else:
            weights[name] = normal(shape, seed, "stegastamp", name) * math.sqrt(2 / math.prod(shape[1:]))
    return weights


def residual(images: Tensor, secret: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return what the encoder adds to images so that they carry the secret.

    Args:
        images: shape (n, 3, h, w) in [0, 1].
        secret: bits as 0 and 1, shape (n, bits) or (1, bits) for the same secret in all images.
        weights: of the shapes of `encoder_shapes`, of the images' type.

    Returns:
        Shape (n, 3, h, w).

    Reference:
        Tancik et al., StegaStamp (arXiv:1904.05343), and its code (https://github.com/tancik/StegaStamp,
        ``models.py``); channels as in https://github.com/SCLBD/BackdoorBench, ``resource/ssba/models.py``.

    Deviates:
        The secret is spread over 16 x 16 cells and enlarged to any size, and skips are met by enlarging to
        their size, so that sides need not be multiples of 16.
    """
    spread = F.relu(F.linear(secret - 0.5, weights["secret.weight"], weights["secret.bias"]))
    cells = spread.view(-1, 3, GRID, GRID).expand(len(images), -1, -1, -1)
    inputs = torch.cat([_enlarge(cells, images), images - 0.5], dim=1)
    conv1 = _conv(inputs, weights, "conv1")
    conv2 = _conv(conv1, weights, "conv2", stride=2)
    conv3 = _conv(conv2, weights, "conv3", stride=2)
    conv4 = _conv(conv3, weights, "conv4", stride=2)
    x = _conv(conv4, weights, "conv5", stride=2)
    for level, skips in ((6, (conv4,)), (7, (conv3,)), (8, (conv2,)), (9, (conv1, inputs))):
        padded = F.pad(_enlarge(x, skips[0]), (0, 1, 0, 1))
        up = F.relu(F.conv2d(padded, weights[f"up{level}.weight"], weights[f"up{level}.bias"]))
        x = _conv(torch.cat([skips[0], up, *skips[1:]], dim=1), weights, f"conv{level}")
    x = _conv(x, weights, "conv10")
    return F.conv2d(x, weights["residual.weight"], weights["residual.bias"])


def decode(images: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return the logits of the bits that images carry, shape (n, bits): above 0 is 1.

    Args:
        images: shape (n, 3, size, size) in [0, 1], of the size that the weights were made for.
        weights: of the shapes of `decoder_shapes`, of the images' type.

    Reference:
        Tancik et al., StegaStamp (arXiv:1904.05343), without its spatial transformer, as in BackdoorBench.

    Deviates:
        Small maps are not halved: the published five halvings leave 2 x 2 places of a 64-pixel image, from
        which 100 bits are hardly learned.
    """
    x = images - 0.5
    for number, stride in enumerate(strides(images.shape[-1])[0], start=1):
        x = _conv(x, weights, f"decode{number}", stride=stride)
    x = F.relu(F.linear(x.flatten(1), weights["dense.weight"], weights["dense.bias"]))
    return F.linear(x, weights["bits.weight"], weights["bits.bias"])


def strides(size: int) -> tuple[list[int], int]:
    """Return the strides of the decoder's convolutions for a side of ``size`` pixels, and the last map's side."""
    chosen = []
    for stride in STRIDES:
        chosen.append(stride if size > SMALLEST else 1)
        size = math.ceil(size / chosen[-1])
    return chosen, size


def _square(convolutions: Mapping[str, tuple[int, int, int]]) -> Shapes:
    shapes: Shapes = {}
    for name, (outputs, inputs, side) in convolutions.items():
        shapes[f"{name}.weight"] = (outputs, inputs, side, side)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def _conv(x: Tensor, weights: Mapping[str, Tensor], name: str, stride: int = 1) -> Tensor:
    return F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=stride, padding=1))


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="nearest")
