"""Training speed: samples per second, seconds per step, and the share of time spent waiting for data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Speed since the last logged step.

    Attributes:
        steps: number of steps.
        samples: number of samples, over all processes.
        seconds: duration of the steps.
        waited: part of ``seconds`` that was spent waiting for batches.
    """

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, samples: int, seconds: float, waited: float) -> None:
        """Add a step."""
        self.steps += 1
        self.samples += samples
        self.seconds += seconds
        self.waited += waited

    def values(self) -> dict[str, float]:
        """Return ``samples_per_second``, ``step_seconds`` and ``data_wait`` (a fraction) for the log."""
        return {
            "samples_per_second": self.samples / self.seconds,
            "step_seconds": self.seconds / self.steps,
            "data_wait": self.waited / self.seconds,
        }

    def for_progress_bar(self) -> dict[str, object]:
        """Return the figures that the progress bar shows."""
        return {"samples/s": self.samples / self.seconds, "data wait": f"{self.waited / self.seconds:.0%}"}
