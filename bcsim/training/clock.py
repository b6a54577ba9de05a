"""The time that the steps of a run take, and its limit."""

import time


class TrainingClock:
    """Counts the seconds of steps and of waiting for batches, and nothing else of a run.

    Neither validations nor checkpoints nor the start of loading processes count, so that runs of
    one limit train for the same time whatever they write.

    Args:
        limit_s: time in seconds after which the run ends; None for no limit.

    Attributes:
        trained_s: time counted so far, that of the runs before this one included, in seconds.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self.trained_s = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Count from here on; nothing changes if the clock runs already."""
        if self._since is None:
            self._since = time.monotonic()

    def stop(self) -> None:
        """Count up to here."""
        if self._since is not None:
            self.trained_s += time.monotonic() - self._since
            self._since = None

    @property
    def fraction(self) -> float:
        """Part of the limit that is used up, 0 without one."""
        return 0.0 if self.limit_s is None else self.trained_s / self.limit_s

    @property
    def is_over(self) -> bool:
        """Whether the limit is used up."""
        return self.limit_s is not None and self.trained_s >= self.limit_s
