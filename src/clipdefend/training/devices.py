"""Accelerate, set up for one run."""

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
"""Plugins that a launcher's settings can ask for: they split the weights, which are read and saved whole here."""
TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others in a step: longer than a slow disk, shorter than a night."""


def make_accelerator(
    device: str, precision: str = "fp32", *, every_weight: bool = True, **options: Any
) -> Any:
    """An ``accelerate.Accelerator`` on a device ("auto", "cpu", "cuda", "cuda:1", "mps") in a precision.

    Under a launcher each process takes the GPU of its local rank, or all of them the CPU.

    Args:
        device, precision: as above.
        every_weight: whether every backward pass reaches every weight, which several processes need not look
            for then.
        options: of ``accelerate.Accelerator``.

    Raises:
        ConfigError: a device that this machine lacks, one GPU for several processes, fp16 without a GPU, or a
            launcher that would split the weights.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    for variable, plugin in FOREIGN.items():
        if os.environ.get(variable, "").lower() in ("1", "true"):
            raise ConfigError(
                f"The launcher asks for {plugin}, which is not supported: set its distributed_type to MULTI_GPU."
            )
    launched = os.environ.get("WORLD_SIZE", "1") != "1"
    if launched and device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {device} is one for all processes: leave it out under a launcher, or cpu."
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
    # Accelerate keeps one state a process and refuses another precision, so a second run in it starts afresh.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=device == "cpu" or (launched and cpu),
        mixed_precision=MIXED[precision],
        kwargs_handlers=_process_options(every_weight) if launched else None,
        **options,
    )


def _process_options(every_weight: bool) -> list[Any]:
    """How processes wait for each other and average gradients."""
    from accelerate import DistributedDataParallelKwargs, InitProcessGroupKwargs

    wrapper = DistributedDataParallelKwargs(
        find_unused_parameters=not every_weight, gradient_as_bucket_view=True
    )
    return [InitProcessGroupKwargs(timeout=TIMEOUT), wrapper]
