"""What a diagnosis of paired recordings is made of."""

from dataclasses import dataclass
from typing import Literal

SEVERITIES = ("unusable", "warning")  # a warning costs quality; an unusable pair is left out


@dataclass(frozen=True)
class Finding:
    """Something that was noticed about a pair.

    Args:
        kind: one of malformed, silent, identical, unrelated, swapped, offset, drift, jump,
            inverted, clipping, dropout, dc, band, rumble, noisy, incoherent.
        severity: one of `SEVERITIES`.
        text: what was noticed, with the measured value and where.
        remedy: what to do about it.
        channel: air or bone, where the finding is about one of them.
        time_s: time of what was noticed, where it has one.
    """

    kind: str
    severity: Literal["unusable", "warning"]
    text: str
    remedy: str
    channel: str | None = None
    time_s: float | None = None
