"""Checks of what was decoded: its length, and that its values make sense."""

import math
from typing import Any

from numpy.typing import NDArray

from bcsim.audio.validation.base import COPY, AudioInfo, ContainerError

MAX_MAGNITUDE = 64.0  # 36 dB over full scale: more than floats need, less than integers have
MP3_SLACK = 4 * 1152  # samples: encoders differ in what they count as delay and padding


def check_count(info: AudioInfo, count: int) -> list[str]:
    """Raise if fewer samples were decoded than a file claims; return what to warn of."""
    if count == 0:
        raise ContainerError("holds 0 samples; leave the file out")
    claimed = info.frames
    if count + (MP3_SLACK if info.container == "MP3" else 0) < claimed:
        raise ContainerError(
            f"cut short or damaged: claims {claimed} samples, {count} can be decoded; {COPY}"
        )
    return [f"ends {claimed - count} samples before its header claims"] if count < claimed else []


def check_magnitude(samples: NDArray[Any]) -> float:
    """Raise if a sample is not finite or far above full scale; return the largest magnitude.

    Args:
        samples: (T, C), full scale at 1.
    """
    if not samples.size:
        return 0.0
    low, high = float(samples.min()), float(samples.max())  # not a number if any sample is not
    if not math.isfinite(low) or not math.isfinite(high):
        raise ContainerError("holds samples that are not finite numbers; write it anew")
    if (largest := max(high, -low)) > MAX_MAGNITUDE:
        raise ContainerError(
            f"reaches {largest:.3g} times full scale: were integers stored as floats? Divide them "
            "by 32768, or what their bits call for"
        )
    return largest


def oddities(info: AudioInfo, largest: float) -> list[str]:
    """Return what to warn of in a usable file, of whose samples `largest` is the peak magnitude."""
    odd = list(info.warnings)
    if info.channels > 1:
        odd.append(f"{info.channels} channels averaged to one")
    if largest > 1.01:
        odd.append(f"peaks at {largest:.3g} of full scale")
    if largest == 0:
        odd.append("holds nothing but digital silence")
    return odd
