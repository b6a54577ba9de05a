"""Checks of what was decoded: its length, and that its values make sense."""

import math
from typing import Any

from numpy.typing import NDArray

from bcsim.audio.validation.base import COPY, ContainerError, Header

MAX_MAGNITUDE = 64.0  # 36 dB over full scale: more than floats need, less than integers have
MP3_SLACK = 4 * 1152  # samples: encoders differ in what they count as delay and padding


def check_count(header: Header, count: int, claimed: int) -> list[str]:
    """Check that as many samples were decoded as a file claims.

    Args:
        header: header of the file.
        count: number of samples that were decoded.
        claimed: number of samples that the file claims.

    Returns:
        What to warn of: the end of an MP3 may be missing.

    Raises:
        ContainerError: if there are too few, or none.
    """
    if count == 0:
        raise ContainerError("holds 0 samples; leave the file out")
    if count + (MP3_SLACK if header.container == "MP3" else 0) < claimed:
        raise ContainerError(
            f"cut short or damaged: claims {claimed} samples, {count} can be decoded; {COPY}"
        )
    return [f"ends {claimed - count} samples before its header claims"] if count < claimed else []


def check_magnitude(samples: NDArray[Any]) -> float:
    """Check that decoded samples are finite and not far above full scale.

    Args:
        samples: (T, C), full scale at 1.

    Returns:
        The largest magnitude.

    Raises:
        ContainerError: if a sample is not finite, or far above full scale.
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


def oddities(header: Header, largest: float) -> list[str]:
    """Return what to warn of in a file that can be used.

    Args:
        header: header of the file.
        largest: largest magnitude of its samples.
    """
    odd = list(header.warnings)
    if header.channels > 1:
        odd.append(f"{header.channels} channels averaged to one")
    if largest > 1.01:
        odd.append(f"peaks at {largest:.3g} of full scale")
    if largest == 0:
        odd.append("holds nothing but digital silence")
    return odd
