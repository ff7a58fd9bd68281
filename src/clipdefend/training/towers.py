"""Prepares a model for training: frozen towers, gradient checkpointing, compilation and batch-norm mode."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipdefend.config import TrainConfig
from clipdefend.errors import ConfigError
from clipdefend.models.clip import ClipModel

BACKEND = "inductor"


def prepare_towers(model: ClipModel, config: TrainConfig, device: torch.device) -> None:
    """Freeze, checkpoint and compile the towers as configured.

    Raises:
        ConfigError: compilation for a CPU was requested, but there is no C++ compiler.
    """
    if config.lock_image:
        model.clip.lock_image_tower()
    if config.lock_text:
        model.clip.lock_text_tower()
    for name, parameter in model.clip.named_parameters():
        # Parameters of SigLIP and CoCa that no loss here uses: distributed training would wait for their gradients.
        if name == "logit_bias" or name.startswith("text_decoder."):
            parameter.requires_grad_(False)
    if config.grad_checkpointing:
        model.clip.set_grad_checkpointing()
        _checkpoint_blocks(model.clip, config.compile)
    if config.compile:
        _check_compiler(device)
        for tower in _towers(model.clip):
            # In place, so that state-dict keys and references to the module do not change.
            tower.compile(backend=BACKEND)


def _checkpoint_blocks(clip: nn.Module, compiled: bool) -> None:
    """Checkpoint the blocks of ResNets, which open_clip's own switch ignores."""
    from open_clip.modified_resnet import Bottleneck

    forward = _checkpointed_forward
    if compiled:  # the compiler cannot trace the contexts
        forward = torch.compiler.disable(forward)
    for block in clip.modules():
        if isinstance(block, Bottleneck):
            block.forward = partial(forward, block, block.forward)


def _checkpointed_forward(block: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a block; the backward pass recomputes its activations without updating batch-norm statistics again."""
    if not torch.is_grad_enabled():
        return forward(x)
    contexts = partial(_forward_and_recompute, block)
    output: Tensor = checkpoint(
        forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )
    return output


def _forward_and_recompute(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the forward pass and of its recomputation."""
    return nullcontext(), _borrow_statistics(block)


@contextmanager
def _borrow_statistics(block: nn.Module) -> Iterator[None]:
    """Context in which batch norms update copies of their statistics; the activations are the same."""
    owned = [
        (norm, dict(norm._buffers))
        for norm in block.modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm)
    ]
    for norm, buffers in owned:
        norm._buffers.update({name: None if x is None else x.clone() for name, x in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in owned:
            norm._buffers.update(buffers)


def _towers(clip: nn.Module) -> Iterator[nn.Module]:
    """Yield the image tower, and the text tower or, if its parts belong to open_clip's model, its transformer."""
    for name in ("visual", "text", "transformer"):
        tower = getattr(clip, name, None)
        if isinstance(tower, nn.Module):
            yield tower


def _check_compiler(device: torch.device) -> None:
    if device.type != "cpu" or BACKEND != "inductor":
        return
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"--compile on a CPU needs a C++ compiler, but {compiler!r} was not found: install one, set $CXX to"
            " yours, or omit --compile."
        )


@contextmanager
def compilation_faults(compiled: bool) -> Iterator[None]:
    """Context that turns a failing compilation into a ConfigError of one line."""
    if not compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import exc

    try:
        yield
    except (TorchDynamoException, getattr(exc, "InductorError", TorchDynamoException)) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"--compile failed: {first:.200} Run without --compile.") from error


def train_mode(model: nn.Module, batch_norm: str) -> None:
    """Switch a model to training mode.

    Args:
        model: the model.
        batch_norm: "train" updates batch-norm statistics, "eval" keeps those that were loaded. A locked tower
            keeps them in either case.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            locked = not any(parameter.requires_grad for parameter in module.parameters())
            module.train(batch_norm == "train" and not locked)
