"""Caches expensive tensors beside the runs, under the hash of everything they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipdefend.models.clip import ClipModel
from clipdefend.runs.files import atomic_write


@dataclass(frozen=True)
class Cache:
    """A folder of safetensors files, named by the hash of what they were made from.

    Attributes:
        folder: created when needed; tensors that cannot be written there are made again the next time.
    """

    folder: Path

    def get(
        self,
        facts: Mapping[str, Any],
        make: Callable[[], dict[str, Tensor]],
        keep: Callable[[], bool] = lambda: True,
        agree: Callable[[bool], bool] = bool,
    ) -> dict[str, Tensor]:
        """Return cached tensors, or make and cache them.

        Args:
            facts: everything that the tensors depend on, as plain data.
            make: makes the tensors, on any device.
            keep: whether to cache the tensors; called after they were made.
            agree: (whether they are cached) -> whether to use the cache; always called, so that several processes
                can agree if ``make`` needs all of them.

        Returns:
            The tensors, on the CPU.
        """
        found = self.find(facts)
        if agree(found is not None) and found is not None:
            return found
        made = {name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}
        if not keep():
            return made
        with contextlib.suppress(OSError):
            self.put(facts, made)
        return made

    def find(self, facts: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Return the cached tensors of the same facts; None if they are missing or damaged."""
        key = _key(facts)
        return _read(self.path(facts), key)

    def put(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Cache tensors, which must be on the CPU. Raises OSError if they cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path(facts), save(dict(tensors), metadata={"key": _key(facts)}))

    def path(self, facts: Mapping[str, Any]) -> Path:
        """Return the path of the file for some facts."""
        return self.folder / f"{_key(facts)}.safetensors"


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """Read a cache file; return None if it is missing, damaged or has another key."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError):
        return None


def model_digest(model: ClipModel) -> str:
    """Return the SHA-256 of a model: its architecture, and the names, types, shapes and bytes of its weights."""
    digest = hashlib.sha256(json.dumps(model.architecture.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in model.clip.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(memoryview(plain.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
