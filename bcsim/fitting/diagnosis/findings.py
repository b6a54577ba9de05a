"""What a diagnosis of paired recordings is made of."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["note", "warning", "unusable"]


@dataclass(frozen=True)
class Finding:
    """Something that was noticed about a pair.

    Args:
        kind: one of malformed, silent, identical, unrelated, swapped, offset, drift, jump,
            inverted, clipping, dropout, dc, noisy, incoherent.
        severity: `note` is a fact, `warning` costs quality, `unusable` is refused.
        text: what, with the measured value and where.
        remedy: what to do about it.
        channel: air or bone, where it is one of them.
        time_s: when, where it has a place.
    """

    kind: str
    severity: Severity
    text: str
    remedy: str
    channel: str | None = None
    time_s: float | None = None
