"""Accelerate, set up for one run."""

from __future__ import annotations

from typing import Any

from clipdefend.errors import ConfigError

MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(device: str, precision: str = "fp32", **options: Any) -> Any:
    """An ``accelerate.Accelerator`` on a device ("auto", "cpu", "cuda", "cuda:1", "mps") in a precision.

    Raises:
        ConfigError: a device that this machine lacks, or fp16 without a GPU.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"Device {device!r} is not to be had here: use --device auto or cpu."
            ) from error
    cpu = device == "cpu" or not torch.cuda.is_available()
    if cpu and precision == "fp16":
        raise ConfigError("--precision fp16 needs a GPU: use bf16 or fp32 on a CPU.")
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    # Accelerate keeps one state a process and refuses another precision, so a second run in it starts afresh.
    AcceleratorState._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision=MIXED[precision], **options)
