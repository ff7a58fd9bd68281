"""Sets up Accelerate for one run."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from clipdefend.errors import ConfigError

MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16", "auto": "no"}
"""Names of ours -> of Accelerate's; "auto" is full precision until it is decided."""
FOREIGN = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron",
}
"""Plugins that a launcher may request; they shard the weights, which this package loads and saves as a whole."""
TIMEOUT = timedelta(minutes=30)
"""Timeout of a collective operation: long enough for a slow disk, short enough not to waste a night."""


def make_accelerator(
    device: str, precision: str = "fp32", *, every_weight: bool = True, **options: Any
) -> Any:
    """Make an ``accelerate.Accelerator``.

    Under a launcher each process uses the GPU of its local rank, or all of them use the CPU.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "fp32", "bf16" or "fp16".
        every_weight: whether every backward pass reaches every weight, so that DistributedDataParallel need not
            search for unused parameters.
        options: further arguments of ``accelerate.Accelerator``.

    Raises:
        ConfigError: the device is not available, one GPU was requested for several processes, fp16 was requested
            without a GPU, or the launcher would shard the weights.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    for variable, plugin in FOREIGN.items():
        if os.environ.get(variable, "").lower() in ("1", "true"):
            raise ConfigError(
                f"The launcher requests {plugin}, which is not supported: set its distributed_type to MULTI_GPU."
            )
    launched = os.environ.get("WORLD_SIZE", "1") != "1"
    if launched and device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {device} would be shared by all processes: omit it under a launcher, or use --device cpu."
        )
    if launched and device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"Device {device!r} is not available here: use --device auto or cpu."
            ) from error
    cpu = device == "cpu" or not torch.cuda.is_available()
    if cpu and precision == "fp16":
        raise ConfigError("--precision fp16 needs a GPU: use bf16 or fp32 on a CPU.")
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    # Accelerate keeps one state per process and refuses to change its precision; reset it for a second run.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=device == "cpu" or (launched and cpu),
        mixed_precision=MIXED[precision],
        kwargs_handlers=_process_options(every_weight) if launched else None,
        **options,
    )


def _process_options(every_weight: bool) -> list[Any]:
    """Return the timeout of process groups and the options of DistributedDataParallel."""
    from accelerate import DistributedDataParallelKwargs, InitProcessGroupKwargs

    wrapper = DistributedDataParallelKwargs(
        find_unused_parameters=not every_weight, gradient_as_bucket_view=True
    )
    return [InitProcessGroupKwargs(timeout=TIMEOUT), wrapper]
