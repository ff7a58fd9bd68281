"""What is done to a model before it is trained: frozen towers, checkpointing, compilation, batch-norm mode."""

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
    """Freeze, checkpoint and compile as configured.

    Raises:
        ConfigError: compilation on a CPU without a C++ compiler.
    """
    if config.lock_image:
        model.clip.lock_image_tower()
    if config.lock_text:
        model.clip.lock_text_tower()
    for name, parameter in model.clip.named_parameters():
        # SigLIP's and CoCa's: no loss here reaches them, which several processes do not bear.
        if name == "logit_bias" or name.startswith("text_decoder."):
            parameter.requires_grad_(False)
    if config.grad_checkpointing:
        model.clip.set_grad_checkpointing()
        _checkpoint_blocks(model.clip, config.compile)
    if config.compile:
        _check_compiler(device)
        for tower in _towers(model.clip):
            # In place: the module stays itself, so that neither its keys nor what holds it change.
            tower.compile(backend=BACKEND)


def _checkpoint_blocks(clip: nn.Module, compiled: bool) -> None:
    """Checkpoint the blocks of ResNets, for which open_clip's own switch does nothing."""
    from open_clip.modified_resnet import Bottleneck

    again = _forward_again
    if compiled:  # it cannot trace the contexts
        again = torch.compiler.disable(again)
    for block in clip.modules():
        if isinstance(block, Bottleneck):
            block.forward = partial(again, block, block.forward)


def _forward_again(block: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A block's output; the backward pass makes what is inside anew, and moves no statistics once more."""
    if not torch.is_grad_enabled():
        return forward(x)
    contexts = partial(_once_and_again, block)
    again: Tensor = checkpoint(forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return again


def _once_and_again(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _borrow_statistics(block)


@contextmanager
def _borrow_statistics(block: nn.Module) -> Iterator[None]:
    """Context in which batch norms move copies of their statistics: what is saved for gradients is as before."""
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
    """The image tower, and the text tower or, where open_clip has its parts in the model, its transformer."""
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
            f"--compile needs a C++ compiler on a CPU and {compiler!r} is not there: install one, name yours in"
            " $CXX, or leave --compile out."
        )


@contextmanager
def compilation_faults(compiled: bool) -> Iterator[None]:
    """Context in which a failing compilation is one line."""
    if not compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import exc

    try:
        yield
    except (TorchDynamoException, getattr(exc, "InductorError", TorchDynamoException)) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"--compile fails here: {first:.200} Leave --compile out.") from error


def train_mode(model: nn.Module, batch_norm: str) -> None:
    """Training mode, in which batch-norm statistics stay as loaded with ``batch_norm`` "eval" or a locked tower."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            locked = not any(parameter.requires_grad for parameter in module.parameters())
            module.train(batch_norm == "train" and not locked)
