"""The weight of a trigger's size in the objective, which follows the search."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class SizeWeight:
    """Raises the weight after some consecutive steps that reach the goal, and lowers it after as many that do not.

    Args:
        value: initial weight.
        factor: factor by which the weight is multiplied or divided, above 1.
        patience: number of consecutive steps, at least 1.
        floor: lowest weight.

    Reference:
        Feng et al., DECREE (arXiv:2303.15180), ``main.py`` lines 317 to 345 of its release.

    Deviates:
        DECREE changes the weight by a factor of 5 after more than 5 steps, for searches of thousands of steps, and
        resets it to its initial value after 10 successful steps at the floor; here the factor is 1.5 after 3 steps, and
        the weight rises from the floor as from any other value.
    """

    value: float
    factor: float = 1.5
    patience: int = 3
    floor: float = 1e-6
    _run: int = field(default=0, init=False)

    def update(self, reached: bool) -> float:
        """Record a step.

        Args:
            reached: whether it reached the goal.

        Returns:
            The weight of the next step.
        """
        # Consecutive steps: positive if they reached the goal, negative if they did not.
        self._run = max(self._run, 0) + 1 if reached else min(self._run, 0) - 1
        if abs(self._run) >= self.patience:
            changed = self.value * self.factor if reached else self.value / self.factor
            self.value, self._run = max(changed, self.floor), 0
        return self.value
