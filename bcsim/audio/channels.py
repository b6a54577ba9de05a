"""Channels of a recording: which one is meant, and what averaging them does."""

import logging
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.read import open_audio
from bcsim.audio.validation.containers import MAX_CHANNELS
from bcsim.errors import InputError, UsageError

STRONGEST = "strongest"
_NAMES = {"left": 0, "right": 1, "x": 0, "y": 1, "z": 2}

log = logging.getLogger(__name__)


def channel_index(name: str | int) -> int | None:
    """Return the index, from 0, of the channel that a user names; None for the strongest.

    Args:
        name: number from 1 on, "left", "right", "x", "y", "z", or "strongest".

    Raises:
        UsageError: for any other name.

    Example:
        >>> channel_index("1"), channel_index("right"), channel_index("z")
        (0, 1, 2)
    """
    text = str(name).strip().lower()
    if text == STRONGEST:
        return None
    if text in _NAMES:
        return _NAMES[text]
    if text.isdecimal() and 1 <= int(text) <= MAX_CHANNELS:
        return int(text) - 1
    raise UsageError(
        f"{name!r} is no channel; give a number from 1 to {MAX_CHANNELS}, left, right, x, y, z or "
        "strongest"
    )


def strongest_channel(paths: Iterable[Path]) -> int:
    """Return the index, from 0, of the channel with the most power over several recordings.

    Power is about the mean of each file, so that gravity at an accelerometer does not count. One
    channel for all: another one for each file would be another sensor each time. Files that cannot
    be read are passed over. The choice is logged.
    """
    total = np.zeros(MAX_CHANNELS)
    num_channels = 1
    for path in paths:
        try:
            power = _power(path)
        except InputError:
            continue  # named where the recordings are read
        num_channels = max(num_channels, len(power))
        total[: len(power)] += power
    found = int(total[:num_channels].argmax())
    if num_channels > 1:
        others = np.delete(total[:num_channels], found)
        margin_db = 10 * math.log10(total[found] / others.max()) if others.max() > 0 else math.inf
        log.info(
            "channel %d of %d is the strongest, by %.1f dB", found + 1, num_channels, margin_db
        )
    return found


def _power(path: Path) -> NDArray[np.float64]:
    """Return the sum over a file of each channel's square about its mean, (C,)."""
    with open_audio(path) as audio:
        squares, sums, count = np.zeros(audio.info.channels), np.zeros(audio.info.channels), 0
        for block in audio.blocks(warn=False):
            squares += np.square(block).sum(axis=0)
            sums += block.sum(axis=0)
            count += len(block)
    return squares - sums**2 / max(count, 1)
