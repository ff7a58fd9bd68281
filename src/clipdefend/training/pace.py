"""How fast a training goes: samples a second, seconds a step, and the share of them spent waiting for data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Means over the steps since the last logged line.

    Attributes:
        steps, samples: counted, the samples over all processes.
        seconds: they took, of which ``waited`` went by before the batch was there.
    """

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, samples: int, seconds: float, waited: float) -> None:
        """Count a step."""
        self.steps += 1
        self.samples += samples
        self.seconds += seconds
        self.waited += waited

    def values(self) -> dict[str, float]:
        """For the log: ``samples_per_second``, ``step_seconds`` and ``data_wait``, a fraction."""
        return {
            "samples_per_second": self.samples / self.seconds,
            "step_seconds": self.seconds / self.steps,
            "data_wait": self.waited / self.seconds,
        }

    def for_progress_bar(self) -> dict[str, object]:
        """For the progress bar."""
        return {"samples/s": self.samples / self.seconds, "data wait": f"{self.waited / self.seconds:.0%}"}
