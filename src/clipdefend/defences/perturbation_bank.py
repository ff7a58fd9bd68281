"""The universal perturbations that ``unlearn`` trains against, and how they follow the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipdefend.attacks.patterns import normal
from clipdefend.attacks.trigger import Trigger
from clipdefend.defences.defence import Course, Step
from clipdefend.defences.perturbations import Perturbation
from clipdefend.distributed import collectives
from clipdefend.draws import draw_seed
from clipdefend.models.clip import ClipModel


class _Share(NamedTuple):
    """Images of a micro-batch that carry a kind: its number, their places, which member, and their own seeds."""

    number: int
    places: list[int]
    members: Tensor
    seeds: list[int]


class _Carried(NamedTuple):
    """A micro-batch without and with perturbations."""

    images: Tensor
    pixels: Tensor
    shares: list[_Share]


class PerturbationBank(Course):
    """Perturbations of several kinds, each of which moves against the model after each step of the training.

    The gradients come from the training pass itself: it computes how the loss of the perturbed images changes with
    their pixels, and each perturbation follows that uphill, as far as its own images know. Processes and
    micro-batches each see some of the images; the gradients of all are added before the bank changes.

    Args:
        kinds, members: which, and how many of each.
        triggers: taken as they are beside them, as often as one kind.
        step, momentum, restart, ramp: attributes of ``Unlearn``.
        size: side of the images in pixels.
        seed: of the run.
    """

    steps: Tensor

    def __init__(
        self,
        kinds: Sequence[Perturbation],
        members: int,
        *,
        triggers: Sequence[Trigger] = (),
        step: float,
        momentum: float,
        restart: int,
        ramp: int,
        size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.kinds, self.members, self.triggers = kinds, members, triggers
        self.step, self.momentum, self.restart, self.ramp = step, momentum, restart, ramp
        self.size, self.seed = size, seed
        self.register_buffer("steps", torch.tensor(0))
        for number in range(len(kinds)):
            drawn = [self._draw(number, member, 0) for member in range(members)]
            self.register_buffer(f"values{number}", torch.stack(drawn))
            self.register_buffer(f"rise{number}", torch.zeros_like(self.get_buffer(f"values{number}")))
        self._carried: list[_Carried] = []

    def _draw(self, number: int, member: int, age: int) -> Tensor:
        return normal(self.kinds[number].shape(self.size), self.seed, "unlearn", number, member, age)

    @property
    def strength(self) -> float:
        """Factor of the bounds: rises from 0 to 1 over the first ``ramp`` steps."""
        return min(1.0, (int(self.steps) + 1) / self.ramp) if self.ramp else 1.0

    def extra(self, rows: Mapping[str, Tensor]) -> Mapping[str, Any]:
        return {"universal": self.perturb}

    def perturb(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Put a perturbation or a found trigger that each seed chooses on each image.

        Returns:
            Pixels in [0, 1], shape (n, 3, h, w): a leaf, whose gradient ``after_step`` reads.
        """
        count = len(self.kinds) + bool(self.triggers)
        pixels, shares = torch.empty_like(images), []
        with torch.no_grad():
            for number in range(len(self.kinds)):
                places = [place for place, seed in enumerate(seeds) if seed % count == number]
                if places:
                    own = [seeds[place] // count for place in places]
                    members = torch.tensor([seed % self.members for seed in own])
                    shares.append(_Share(number, places, members, [draw_seed(seed, "place") for seed in own]))
                    pixels[places] = self._put(shares[-1], images, self.get_buffer(f"values{number}"))
            for number, trigger in enumerate(self.triggers):
                places = [
                    place
                    for place, seed in enumerate(seeds)
                    if seed % count == len(self.kinds) and seed // count % len(self.triggers) == number
                ]
                if places:
                    own = [draw_seed(seeds[place], "place") for place in places]
                    pixels[places] = trigger(images[places], own)
        self._carried.append(_Carried(images, pixels, shares))
        return pixels.requires_grad_()

    def _put(self, share: _Share, images: Tensor, values: Tensor) -> Tensor:
        kind = self.kinds[share.number]
        return kind.apply(images[share.places], values[share.members], share.seeds, self.strength)

    def after_step(self, model: ClipModel, step: Step) -> None:
        for number, gradient in enumerate(self._gradients()):
            values, rise = self.get_buffer(f"values{number}"), self.get_buffer(f"rise{number}")
            # A perturbation that no image carried has no gradient, and one that overflowed is left out.
            rise.mul_(self.momentum).add_(_unit(gradient))
            values += self.step * _unit(rise)
        self.steps += 1
        self._restart()

    def _gradients(self) -> list[Tensor]:
        """How the loss of all processes' images rises with each value, shape (members, *shape) for each kind."""
        found = [torch.zeros_like(self.get_buffer(f"values{number}")) for number in range(len(self.kinds))]
        for images, pixels, shares in self._carried:
            rise = pixels.grad
            if rise is None:
                continue
            for share in shares:
                with torch.enable_grad():
                    values = self.get_buffer(f"values{share.number}").clone().requires_grad_()
                    made = self._put(share, images, values)
                (gradient,) = torch.autograd.grad(made, values, rise[share.places].to(made))
                found[share.number] += gradient
        self._carried.clear()
        return [collectives.all_reduce_(gradient) for gradient in found]

    def _restart(self) -> None:
        """Draw those anew whose turn it is, one after the other."""
        period, count = self.restart, len(self.kinds) * self.members
        for turn in range(count if period else 0):
            if (int(self.steps) + turn * period // count) % period == 0:
                number, member = turn % len(self.kinds), turn // len(self.kinds)
                values = self.get_buffer(f"values{number}")
                values[member] = self._draw(number, member, int(self.steps)).to(values)
                self.get_buffer(f"rise{number}")[member] = 0


def _unit(gradients: Tensor) -> Tensor:
    """Scale each to a root mean square of one; zeros and what is not finite become zeros."""
    size = gradients.square().mean(dim=tuple(range(1, gradients.ndim)), keepdim=True).sqrt()
    return (gradients / size).nan_to_num(0.0, 0.0, 0.0)
