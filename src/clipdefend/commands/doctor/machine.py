"""Checks of the machine: packages, language model, devices and arithmetic."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from clipdefend.augment.lexicon import load_lexicon
from clipdefend.config import SubcaptionConfig
from clipdefend.errors import ClipDefendError, ConfigError
from clipdefend.runs.versions import versions


def installation() -> tuple[None, str]:
    """Report the versions of required packages. Raises ConfigError if one is missing."""
    found = versions()
    missing = [name for name, version in found.items() if version is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: install clipdefend again with pip.")
    return None, ", ".join(f"{name} {version}" for name, version in found.items())


def language(config: SubcaptionConfig) -> tuple[None, str]:
    """Check the English parser and the lexicons. Raises ClipDefendError if one cannot be loaded."""
    from clipdefend.augment.reader import read_chunk

    try:
        read_chunk(["A red cat sits on a table."], 1)
    except (ImportError, OSError) as error:
        raise ClipDefendError(
            f"The English parser does not load: {error!s:.160} Install clipdefend again with pip."
        ) from error
    lexicon = load_lexicon(Path(config.lexicon) if config.lexicon else None)
    sizes = (
        f"{len(getattr(lexicon, kind)):,} {kind.rstrip('s')}s"
        for kind in ("nouns", "adjectives", "relations")
    )
    return None, f"parser loads; lexicon of {', '.join(sizes)}"


def devices() -> tuple[None, str]:
    """Report the available devices."""
    found = [f"CPU with {torch.get_num_threads()} threads of {os.cpu_count()} cores, {arithmetic()}"]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found.append(f"cuda:{number} {properties.name}, {properties.total_memory / 1e9:.1f} GB")
    if torch.backends.mps.is_available():
        found.append("mps")
    return None, "; ".join(found)


def arithmetic() -> str:
    """Describe the CPU's support for bf16."""
    return "bf16 by AMX" if "amx_bf16" in cpu_flags() else "bf16 by AVX-512" if fast_bf16_cpu() else "no bf16"


def fast_bf16(device: torch.device) -> bool:
    """Whether ``--precision bf16`` is faster than fp32 on a device."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else fast_bf16_cpu()


def fast_bf16_cpu() -> bool:
    """Whether the CPU has instructions for bf16."""
    return bool({"amx_bf16", "avx512_bf16"} & cpu_flags())


def cpu_flags() -> set[str]:
    """Return the CPU flags that Linux lists; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def free_memory(device: torch.device) -> int:
    """Return the bytes of a device's memory that a run may use, including those that this process already holds."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device)
    import psutil

    return int(psutil.virtual_memory().available) + own_memory()


def own_memory() -> int:
    """Return the bytes of main memory that this process holds."""
    import psutil

    return int(psutil.Process().memory_info().rss)
