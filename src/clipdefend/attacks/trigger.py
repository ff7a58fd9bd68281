"""A trigger that runs pass on: an attack with its canvas, seed and tensors, stored in a poison run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.attack import Attack
from clipdefend.errors import DataError, RunError
from clipdefend.runs.files import atomic_write

TENSOR_FILE = "trigger.safetensors"


@dataclass(frozen=True, eq=False)
class Trigger:
    """An attack bound to its canvas and seed, so that poisoning, training and evaluation share one trigger.

    Attributes:
        name: the attack's name in the registry.
        attack: the attack with its parameters.
        size: side of the canvas in pixels.
        seed: seed of every draw.
        tensors: the tensors that all images share, float32, on the CPU.
    """

    name: str
    attack: Attack
    size: int
    seed: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def create(
        cls,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        size: int,
        seed: int,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Trigger:
        """Build a trigger.

        Args:
            name: name of the attack in the registry.
            params: parameters of the attack; those not given keep their defaults.
            size: side of the canvas in pixels.
            seed: seed of every draw.
            tensors: learned tensors; by default the attack draws them from the seed.

        Raises:
            ConfigError: the attack is unknown or refuses the parameters.
            DataError: the attack's image file cannot be used.
        """
        attack = ATTACKS.build(name, params)
        shared = attack.tensors(size, seed) if tensors is None else dict(tensors)
        return cls(name=name, attack=attack, size=size, seed=seed, tensors=shared)

    def __call__(self, images: Tensor, ids: Sequence[int] | Tensor) -> Tensor:
        """Return triggered images, shape (n, 3, size, size); see `Attack.apply`."""
        self._check(images)
        return self.attack.apply(images, ids, self.seed, self.tensors)

    def cross(self, images: Tensor, ids: Sequence[int] | Tensor) -> Tensor:
        """Return images with the noisy trigger of `Attack.cross_count`."""
        self._check(images)
        return self.attack.apply_cross(images, ids, self.seed, self.tensors)

    def describe(self) -> str:
        """Return the attack and its parameters in one line, for titles and listings."""
        params = dataclasses.asdict(self.attack)  # type: ignore[call-overload]
        shown = (f"{key} {_plain(value)}" for key, value in params.items() if value is not None)
        return f"{self.name}: {', '.join(shown)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the record for a manifest, in plain values; tensors are represented by their shapes."""
        return {
            "name": self.name,
            "params": dataclasses.asdict(self.attack),  # type: ignore[call-overload]
            "size": self.size,
            "seed": self.seed,
            "tensors": {name: list(tensor.shape) for name, tensor in self.tensors.items()},
        }

    def save(self, folder: Path) -> None:
        """Write ``trigger.safetensors`` into the folder, atomically."""
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        atomic_write(folder / TENSOR_FILE, save(tensors))

    @classmethod
    def load(cls, folder: Path, record: Mapping[str, Any]) -> Trigger:
        """Read a trigger back, bit for bit.

        Args:
            folder: folder of the poison run.
            record: the return value of `to_dict`.

        Raises:
            ConfigError: the record names an unknown attack or parameter.
            RunError: the record or the tensors are missing or damaged, or do not belong together.
        """
        missing = [key for key in ("name", "params", "size", "seed", "tensors") if key not in record]
        if missing:
            raise RunError(f"The trigger's record in {folder} lacks {', '.join(missing)}: poison again.")
        file = folder / TENSOR_FILE
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            reason = "is missing" if not file.exists() else "is damaged"
            raise RunError(f"{file} {reason}: poison again, or restore the run folder.") from error
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        expected = {name: list(shape) for name, shape in record["tensors"].items()}
        if shapes != expected:
            raise RunError(f"{file} holds {shapes}, the manifest names {expected}: restore the run folder.")
        return cls.create(
            record["name"], record["params"], size=record["size"], seed=record["seed"], tensors=tensors
        )

    def _check(self, images: Tensor) -> None:
        if images.shape[-2:] != (self.size, self.size):
            raise DataError(
                f"Images of shape {tuple(images.shape)} do not fit a canvas of {self.size} pixels:"
                " give images of the canvas of the poison run."
            )


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
