"""Training SSBA's encoder, which hides bits in images, with the decoder that reads them."""

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
from clipdefend.learning.example_batches import in_batches, in_epochs, read, steps
from clipdefend.learning.task import LOG_EVERY, Learned, Task

READ_WELL = 0.9
"""Share of a batch's bits from which on the image counts too."""
ENOUGH = 0.95
WARM_UP = 50
"""Steps in which the learning rate rises: Adam's first steps are the largest, and may silence whole layers."""


def learn(task: Task) -> Learned:
    """Train encoder and decoder with random secrets, so that the bits have to be read from the images."""
    attack = cast(SSBA, task.attack)
    rows, held_out = task.rows(attack.images, np.empty(0, dtype=np.int64))
    weights = {
        name: tensor.to(task.device) for name, tensor in attack.tensors(task.canvas.size, task.seed).items()
    }
    trained = [tensor.requires_grad_() for name, tensor in weights.items() if name != "secret"]
    total = steps(len(rows), attack.batch, attack.epochs)
    optimizer = torch.optim.Adam(trained, lr=attack.lr)
    ramp_from: int | None = None
    plan = in_epochs(rows, attack.batch, attack.epochs, task.seed)
    with task.console.progress("Train the encoder", total=total) as bar:
        for step, (_, images) in enumerate(read(task, plan)):
            secret = _secrets(task, "learn", step, len(images), attack.bits)
            weight = image_weight(attack, step, ramp_from)
            bits, error, accuracy = losses(faded(images, step, attack.fade), secret, weights)
            loss = bits + weight * error
            optimizer.param_groups[0]["lr"] = learning_rate(attack.lr, step, total)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if ramp_from is None and accuracy > READ_WELL:
                ramp_from = step
            decibels = -10 * math.log10(error.item() + 1e-12)
            bar.update(1, bits=accuracy, psnr=decibels)
            if step % LOG_EVERY == 0 or step + 1 == total:
                values = {"loss": loss.item(), "bit_loss": bits.item(), "image_loss": error.item()}
                task.log({"event": "learn", "step": step + 1, **values, "bit_accuracy": accuracy})
    tensors = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    measured = measure(task, attack, tensors, held_out)
    task.console.info(
        f"Encoder: {100 * measured['bit_accuracy']:.1f} % of the bits read, PSNR {measured['psnr']:.1f} dB,"
        f" SSIM {measured['ssim']:.3f} on {measured['images']} images that it was not trained on"
    )
    if measured["bit_accuracy"] < ENOUGH:
        task.console.warn(
            f"The decoder reads only {100 * measured['bit_accuracy']:.1f} % of the bits: try more"
            f" --set attack.epochs={2 * attack.epochs}, or a smaller --set attack.image_weight."
        )
    return Learned(tensors, {"images": len(rows), "steps": total, "held_out": measured})


def losses(images: Tensor, secret: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor, float]:
    """Hide and read secrets.

    The image is rounded to 8 bits as a PNG rounds it; the gradient passes the rounding as if there were none.

    Args:
        images: shape (n, 3, h, w) in [0, 1].
        secret: 0 and 1, shape (n, bits).
        weights: of encoder and decoder.

    Returns:
        The mean binary cross-entropy of the bits, the mean squared error of the images, and the share of
        bits read.
    """
    stamped = (images + residual(images, secret, weights)).clamp(0, 1)
    rounded = stamped + ((stamped * LEVELS).round() / LEVELS - stamped).detach()
    logits = decode(rounded, weights)
    accuracy = ((logits > 0) == (secret > 0.5)).float().mean()
    return F.binary_cross_entropy_with_logits(logits, secret), F.mse_loss(stamped, images), float(accuracy)


def learning_rate(peak: float, step: int, total: int) -> float:
    """Half a cosine after a short linear warm-up."""
    return peak * min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / total)) / 2


def faded(images: Tensor, step: int, fade: int) -> Tensor:
    """Images with a contrast that grows from 0 to 1 over ``fade`` steps."""
    return images if step >= fade else 0.5 + (images - 0.5) * (step / fade)


def image_weight(attack: SSBA, step: int, ramp_from: int | None) -> float:
    """Weight of the images' error: 0 until the bits are read, then a linear ramp."""
    if ramp_from is None:
        return 0.0
    return attack.image_weight * min(1.0, (step - ramp_from) / max(1, attack.ramp))


@torch.no_grad()
def measure(task: Task, attack: SSBA, tensors: dict[str, Tensor], rows: NDArray[np.int64]) -> dict[str, Any]:
    """Figures on images that were not trained on.

    Returns:
        ``bit_accuracy`` of random secrets and ``secret_accuracy`` of the trigger's own, both read from 8-bit
        images, and ``psnr`` and ``ssim`` of the trigger.
    """
    found: dict[str, list[Tensor]] = {key: [] for key in ("bit_accuracy", "secret_accuracy", "psnr", "ssim")}
    for batch, images in read(task, in_batches(rows)):
        clean = images.cpu()
        secret = _secrets(task, "measure", batch[0].row, len(clean), attack.bits).cpu()
        random = quantise(clean + residual(clean, secret, tensors))
        found["bit_accuracy"].append(_share_read(random, secret, tensors))
        own = attack.apply(clean, [item.row for item in batch], task.seed, tensors)
        found["secret_accuracy"].append(_share_read(own, tensors["secret"], tensors))
        found["psnr"].append(psnr(clean, own))
        found["ssim"].append(ssim(clean, own))
    means = {key: float(torch.cat(values).mean()) for key, values in found.items() if values}
    return {"images": sum(len(values) for values in found["psnr"]), **means}


def _share_read(images: Tensor, secret: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Share of the bits that the decoder reads, shape (n,)."""
    return ((decode(images, tensors) > 0) == (secret > 0.5)).float().mean(dim=1)


def _secrets(task: Task, use: str, number: int, count: int, bits: int) -> Tensor:
    drawn = generator(task.seed, "ssba", use, number).integers(0, 2, (count, bits))
    return torch.from_numpy(drawn).float().to(task.device)
