"""Trains SSBA's encoder, which hides bits in images, together with the decoder that reads them."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipdefend.attacks.attack import LEVELS, quantise
from clipdefend.attacks.preview import psnr, ssim
from clipdefend.attacks.ssba import SSBA
from clipdefend.attacks.stegastamp import decode, residual
from clipdefend.draws import generator
from clipdefend.learning.example_batches import count_steps, in_batches, in_epochs, read_images
from clipdefend.learning.learning_inputs import LOG_EVERY, Learned, LearningInputs

RAMP_ACCURACY = 0.9
"""Bit accuracy on a batch at which the image loss is switched on: before that it would drown the secret."""
MIN_ACCURACY = 0.95
"""Bit accuracy on held-out images below which the user is warned."""
WARM_UP = 50
"""Steps of linear warm-up: Adam's first updates are its largest and can kill whole layers."""


def learn(inputs: LearningInputs) -> Learned:
    """Train encoder and decoder.

    Each image gets a random secret, so that the decoder cannot learn one secret by heart but must read the
    bits from the image.

    Raises:
        DataError: too few pairs, or too many that cannot be used.
    """
    attack = cast(SSBA, inputs.attack)
    rows, held_out = inputs.rows(attack.images, np.empty(0, dtype=np.int64))
    weights = {
        name: tensor.to(inputs.device)
        for name, tensor in attack.tensors(inputs.canvas.size, inputs.seed).items()
    }
    trained = [tensor.requires_grad_() for name, tensor in weights.items() if name != "secret"]
    total = count_steps(len(rows), attack.batch, attack.epochs)
    optimizer = torch.optim.Adam(trained, lr=attack.lr)
    ramp_from: int | None = None
    plan = in_epochs(rows, attack.batch, attack.epochs, inputs.seed)
    with inputs.console.progress("Train the encoder", total=total) as bar:
        for step, (_, images) in enumerate(read_images(inputs, plan)):
            secret = _secrets(inputs, "learn", step, len(images), attack.bits)
            weight = image_weight(attack, step, ramp_from)
            bits, error, accuracy = encoder_losses(fade_in(images, step, attack.fade), secret, weights)
            loss = bits + weight * error
            optimizer.param_groups[0]["lr"] = learning_rate(attack.lr, step, total)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if ramp_from is None and accuracy > RAMP_ACCURACY:
                ramp_from = step
            decibels = -10 * math.log10(error.item() + 1e-12)
            bar.update(1, bits=accuracy, psnr=decibels)
            if step % LOG_EVERY == 0 or step + 1 == total:
                values = {"loss": loss.item(), "bit_loss": bits.item(), "image_loss": error.item()}
                inputs.log({"event": "learn", "step": step + 1, **values, "bit_accuracy": accuracy})
    tensors = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    metrics = measure_encoder(inputs, attack, tensors, held_out)
    inputs.console.info(
        f"Encoder: bit accuracy {100 * metrics['bit_accuracy']:.1f} %, PSNR {metrics['psnr']:.1f} dB,"
        f" SSIM {metrics['ssim']:.3f} on {metrics['images']} held-out images"
    )
    if metrics["bit_accuracy"] < MIN_ACCURACY:
        inputs.console.warn(
            f"The decoder reads only {100 * metrics['bit_accuracy']:.1f} % of the bits: try more"
            f" --set attack.epochs={2 * attack.epochs}, or a smaller --set attack.image_weight."
        )
    return Learned(tensors, {"images": len(rows), "steps": total, "held_out": metrics})


def encoder_losses(
    images: Tensor, secret: Tensor, weights: dict[str, Tensor]
) -> tuple[Tensor, Tensor, float]:
    """Hide secrets in images, read them back and compute both losses.

    Images are rounded to 8 bits as a PNG would round them, with a straight-through gradient.

    Args:
        images: clean images in [0, 1], shape (n, 3, h, w).
        secret: bits 0 and 1, shape (n, bits).
        weights: weights of encoder and decoder.

    Returns:
        Mean binary cross-entropy of the bits, mean squared error of the images, and bit accuracy (0 to 1).
    """
    stamped = (images + residual(images, secret, weights)).clamp(0, 1)
    rounded = stamped + ((stamped * LEVELS).round() / LEVELS - stamped).detach()
    logits = decode(rounded, weights)
    accuracy = ((logits > 0) == (secret > 0.5)).float().mean()
    return F.binary_cross_entropy_with_logits(logits, secret), F.mse_loss(stamped, images), float(accuracy)


def learning_rate(peak: float, step: int, total: int) -> float:
    """Return the learning rate of a step: linear warm-up times half a cosine from ``peak`` to 0."""
    return peak * min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / total)) / 2


def fade_in(images: Tensor, step: int, fade: int) -> Tensor:
    """Return the images with their contrast scaled by a factor that grows from 0 to 1 over ``fade`` steps."""
    return images if step >= fade else 0.5 + (images - 0.5) * (step / fade)


def image_weight(attack: SSBA, step: int, ramp_from: int | None) -> float:
    """Return the weight of the image loss: 0 until the decoder reads the bits, then a linear ramp."""
    if ramp_from is None:
        return 0.0
    return attack.image_weight * min(1.0, (step - ramp_from) / max(1, attack.ramp))


@torch.no_grad()
def measure_encoder(
    inputs: LearningInputs, attack: SSBA, tensors: dict[str, Tensor], rows: NDArray[np.int64]
) -> dict[str, Any]:
    """Measure the encoder on held-out images.

    Returns:
        ``images``, their number; ``bit_accuracy`` with random secrets and ``secret_accuracy`` with the
        trigger's own secret, both 0 to 1 and read from 8-bit images; ``psnr`` (dB) and ``ssim`` of the trigger.
    """
    found: dict[str, list[Tensor]] = {key: [] for key in ("bit_accuracy", "secret_accuracy", "psnr", "ssim")}
    for batch, images in read_images(inputs, in_batches(rows)):
        clean = images.cpu()
        secret = _secrets(inputs, "measure", batch[0].row, len(clean), attack.bits).cpu()
        random = quantise(clean + residual(clean, secret, tensors))
        found["bit_accuracy"].append(_bit_accuracy(random, secret, tensors))
        own = attack.apply(clean, [item.row for item in batch], inputs.seed, tensors)
        found["secret_accuracy"].append(_bit_accuracy(own, tensors["secret"], tensors))
        found["psnr"].append(psnr(clean, own))
        found["ssim"].append(ssim(clean, own))
    means = {key: float(torch.cat(values).mean()) for key, values in found.items() if values}
    return {"images": sum(len(values) for values in found["psnr"]), **means}


def _bit_accuracy(images: Tensor, secret: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Return the share of bits that the decoder reads correctly from each image, shape (n,)."""
    return ((decode(images, tensors) > 0) == (secret > 0.5)).float().mean(dim=1)


def _secrets(inputs: LearningInputs, use: str, number: int, count: int, bits: int) -> Tensor:
    drawn = generator(inputs.seed, "ssba", use, number).integers(0, 2, (count, bits))
    return torch.from_numpy(drawn).float().to(inputs.device)
