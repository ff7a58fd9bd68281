"""Settings of the process that decide how fast torch runs, made before torch is imported.

Nothing is changed that the user has set, and no result depends on anything here but the number of threads.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from glibc's malloc.h
MALLOC = f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={2**63 - 1}"
"""Freed memory is kept, as by ``keep_memory``, and comes in pages of 2 MB where the kernel has them."""


def tune_process() -> None:
    """Set up threads and memory of this process and, by its environment, of those that it starts.

    glibc reads its settings before Python starts, so huge pages are for processes that are started, such as a study's.
    """
    tune_threads(os.environ)
    if sys.platform == "linux" and not _has_malloc_settings(os.environ):
        keep_memory()
        others = os.environ.get("GLIBC_TUNABLES")
        os.environ["GLIBC_TUNABLES"] = f"{others}:{MALLOC}" if others else MALLOC


def tune_threads(environment: MutableMapping[str, str], cgroup: Path = CGROUP) -> None:
    """Let idle threads sleep, and start no more of them than the container may run.

    Threads of OpenMP spin while they wait for each other, which on a busy machine takes the processor from those
    that they wait for.

    Args:
        environment: variables to set; existing ones are not changed.
        cgroup: folder in which the limits of this process's container are found.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & environment.keys():
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        environment["KMP_BLOCKTIME"] = "0"  # the same for Intel's and LLVM's runtimes
    quota = cpu_quota(cgroup)
    if quota is not None and quota < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(max(1, int(quota))))


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """Return the number of processors that a container may use at a time; None without a limit."""
    try:
        if (cgroup / "cpu.max").exists():  # version 2
            limit, period = (cgroup / "cpu.max").read_text("utf-8").split()
        else:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text("utf-8")
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text("utf-8")
        return int(limit) / int(period) if int(limit) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # no such files, or "max"
        return None


def _has_malloc_settings(environment: MutableMapping[str, str]) -> bool:
    if "malloc" in environment.get("GLIBC_TUNABLES", "") or "LD_PRELOAD" in environment:
        return True
    return any(name.startswith("MALLOC_") for name in environment)


def keep_memory() -> None:
    """Keep freed memory for the next tensor, because the kernel must clear each page that it hands out.

    Other C libraries than glibc have no such option.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
