"""The learning rate over a run, and where the run ends."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """A linear rise, then a linear fall to nothing.

    `seconds` above 0 bounds the time: the run is as far as the further of steps and time, so that the rate
    reaches nothing at the end however slow the machine is.
    """

    steps: int
    warm_up: float
    seconds: float = 0.0

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return how far the run is before step number `step` (from 0); 1 or more is its end."""
        by_time = elapsed_s / self.seconds if self.seconds else 0.0
        return max(step / self.steps, by_time)

    def factor(self, progress: float) -> float:
        """Return what to multiply the highest rate with, 0 to 1."""
        if progress < self.warm_up:
            return max(progress, 0.5 / self.steps) / self.warm_up
        return max(0.0, (1.0 - progress) / (1.0 - self.warm_up))
