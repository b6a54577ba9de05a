"""The speed of training."""

import time

from bcsim.training.batches import Loader
from bcsim.training.config import TrainingConfig


class Throughput:
    """Measures how fast a run goes, and how much of the time it waits for data."""

    def __init__(self, loader: Loader, config: TrainingConfig, step: int, world_size: int) -> None:
        self.loader = loader
        self.step_s = world_size * config.data.batch_size * config.data.crop_s
        self.summary = "no steps timed yet"  # the last measurement, in words
        self.restart(step)

    def measure(self, step: int) -> dict[str, float]:
        """Return speeds and fractions of the time since the last call, by name."""
        elapsed_s = max(time.monotonic() - self._since, 1e-9)
        steps_per_s = (step - self._step) / elapsed_s
        waiting = (self.loader.waited_s - self._waited_s) / elapsed_s
        simulating = (self.loader.simulated_s - self._simulated_s) / elapsed_s
        self.summary = (
            f"{steps_per_s:.2f} steps/s, {steps_per_s * self.step_s:.0f} s of speech/s, "
            f"{100 * waiting:.0f}% of the time waiting for data"
        )
        if simulating > 0:
            self.summary += f", simulation {100 * simulating:.1f}% of one core"
        self.restart(step)
        return {
            "speed/steps_per_s": steps_per_s,
            "speed/speech_s_per_s": steps_per_s * self.step_s,
            "speed/waiting_for_data": waiting,
            "speed/simulating": simulating,
        }

    def restart(self, step: int) -> None:
        """Measure from here on, so that validation does not count."""
        self._since, self._step = time.monotonic(), step
        self._waited_s, self._simulated_s = self.loader.waited_s, self.loader.simulated_s
