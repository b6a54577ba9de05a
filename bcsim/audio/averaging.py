"""One channel out of several: the one that is asked for, or their average, and what it did."""

import math

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.validation.base import AudioError
from bcsim.files.findings import Finding

MAX_CANCELLATION_DB = 10.0  # below what independent channels would leave
TOLD_CANCELLATION_DB = 3.0  # the same, from which on it is worth a word
_CHOOSE = "choose one channel"
_ROUNDING = 1e-10  # part of the power that subtracting the mean leaves of a constant


class ChannelMixer:
    """Turns blocks of several channels into one channel, and keeps count of what that does.

    Args:
        num_channels: number of channels of the blocks.
        channel: index of the channel to take, from 0; None to average all of them.

    Raises:
        AudioError: if there is no such channel.
    """

    def __init__(self, num_channels: int, channel: int | None = None) -> None:
        if channel is not None and channel >= num_channels:
            many = f"{num_channels} channels" if num_channels > 1 else "one channel"
            raise AudioError(f"has {many}, and no channel {channel + 1}; name another one")
        self.num_channels = num_channels
        self.channel = 0 if num_channels == 1 else channel
        self._count = 0
        # Of each channel, and last of their average.
        self._sums, self._squares = np.zeros(num_channels + 1), np.zeros(num_channels + 1)

    def mix(self, block: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one channel, (T,), of a block (T, C)."""
        if self.channel is not None:
            return block[:, self.channel]
        mean = block.mean(axis=1)
        self._count += len(block)
        self._sums += [*block.sum(axis=0), mean.sum()]
        self._squares += [*np.square(block).sum(axis=0), np.square(mean).sum()]
        return mean

    def effect(self) -> tuple[list[str], list[Finding]]:
        """Return what to warn of, and what is found, once all blocks are mixed.

        The channels cancel each other if their average is 3 dB or more below what is left of
        independent channels, `sum(power) / num_channels**2`; from 10 dB on the recording cannot be
        used. Powers are about each channel's mean, so that gravity at an accelerometer does not
        count.
        """
        if self.channel is not None:
            return [], []
        powers = self._squares - self._sums**2 / max(self._count, 1)
        powers = np.where(powers > _ROUNDING * self._squares, powers, 0)
        *channels, average = powers.tolist()
        independent = sum(channels) / self.num_channels**2
        if independent == 0:
            text = f"stands still in each of its {self.num_channels} channels"
            return [], [Finding("silent", "unusable", text, "leave it out, or record it again")]
        change_db, lost_db = _decibels(average / max(channels)), -_decibels(average / independent)
        text = f"has {self.num_channels} channels that cancel each other: their average is "
        if lost_db > MAX_CANCELLATION_DB:
            text += f"{-change_db:.0f} dB below the strongest"
            return [], [Finding("cancelling", "unusable", text, _CHOOSE)]
        below = f"{abs(change_db):.1f} dB below the strongest"
        warnings = [f"{self.num_channels} channels averaged to one ({below})"]
        if lost_db < TOLD_CANCELLATION_DB:
            return warnings, []
        return warnings, [Finding("cancelling", "warning", text + below, _CHOOSE)]


def _decibels(ratio: float) -> float:
    return 10 * math.log10(max(ratio, 1e-30))
