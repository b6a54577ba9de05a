"""What a list tells of rates and durations, beside what the files hold that it names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.audio.infos import audio_infos
from bcsim.datasets.lists import end_of_part
from bcsim.errors import InputError

ROUNDING_S = 0.05  # by which a duration may be off, however exactly it is written
RATE_KEYS = ("sample_rate", "sampling_rate", "samplerate", "sample_rate_hz", "sampling_rate_hz")
# Number of these in a second; None where it may be seconds, milliseconds or samples.
DURATION_KEYS: Mapping[str, float | None] = {
    "duration": None,
    **dict.fromkeys(("duration_s", "duration_sec", "duration_secs", "duration_seconds"), 1.0),
    "duration_ms": 1000.0,
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a list tells of a file.

    Args:
        sample_rate: sample rate in Hz, or None.
        duration: duration in units of its own, or None.
        per_second: number of these units in a second; None where it may be one (seconds), 1000
            (milliseconds) or the sample rate (samples).
        rounding: one unit of the last decimal of the duration as it is written.
    """

    sample_rate: float | None = None
    duration: float | None = None
    per_second: float | None = None
    rounding: float = 0.0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Told":
        """Read the usual keys of an entry, in capitals or not; what is no number tells nothing.

        Start and end of a part tell the duration of a file that holds that part alone.

        Example:
            >>> Told.of({"Sampling_Rate": "16000", "duration": 3.2})
            Told(sample_rate=16000.0, duration=3.2, per_second=None, rounding=0.1)
        """
        by_key = {key.lower(): value for key, value in content.items() if isinstance(key, str)}
        rates = [rate for key in RATE_KEYS if (rate := _number(by_key.get(key))) is not None]
        rate = rates[0] if rates else None
        for key, per_second in DURATION_KEYS.items():
            duration = _number(by_key.get(key))
            if duration is not None:
                return cls(rate, duration, per_second, _rounding(by_key[key]))
        return cls(rate, *_part(content))

    def contradiction(self, files: Sequence[tuple[int, int]]) -> str | None:
        """Return what to say if this is told of none of some files, or None.

        Args:
            files: sample rate in Hz and number of samples of each file that it may be told of.
        """
        rates = [rate for rate, _ in files]
        if self.sample_rate is not None and self.sample_rate not in rates:
            return f"the list tells {self.sample_rate:g} Hz, and the files have {_told(rates)} Hz"
        if self.duration is not None and not any(self._fits(*file) for file in files):
            lengths = [round(samples / rate, 3) for rate, samples in files]
            return (
                f"the list tells a duration of {self.duration:g}, and the files last "
                f"{_told(lengths)} s"
            )
        return None

    def _fits(self, rate: int, num_samples: int) -> bool:
        assert self.duration is not None
        units = (1.0, 1000.0, float(rate)) if self.per_second is None else (self.per_second,)
        return any(
            abs(self.duration - num_samples / rate * unit) <= max(self.rounding, ROUNDING_S * unit)
            for unit in units
        )


def _part(content: Mapping[str, Any]) -> tuple[float | None, float | None, float]:
    """Return the duration of the part of a recording that an entry tells, its unit and rounding."""
    times: dict[str, tuple[float, float]] = {}
    for key, value in content.items():
        end = end_of_part(key)
        number = 0.0 if value in (0, "0") and value is not False else _number(value)
        if end is not None and number is not None:
            times.setdefault(end, (number, _rounding(value)))
    if times.keys() != {"start", "end"} or times["end"][0] <= times["start"][0]:
        return None, None, 0.0
    (start, first), (stop, last) = times["start"], times["end"]
    return stop - start, None, first + last


NOTHING_TOLD = Told()


def check_told(told: Told, files: Sequence[tuple[int, int]], name: str) -> None:
    """Raise InputError if files are not as a list tells (`Told.contradiction`).

    Args:
        told: what the list tells.
        files: sample rate in Hz and number of samples of each file.
        name: name of the entry, for the message.
    """
    reason = told.contradiction(files)
    if reason is not None:
        raise InputError(f"{name}: {reason}; mend the list, or copy the file again")


def check_told_of_files(content: Mapping[str, Any], paths: Iterable[Path], name: str) -> None:
    """Raise InputError if files are not as an entry tells; none is opened if it tells nothing.

    Args:
        content: keys and values of the entry.
        paths: files that it is told of; one that cannot be read is left to whoever reads it.
        name: name of the entry, for the message.
    """
    told = Told.of(content)
    if told != NOTHING_TOLD:
        infos = [info for info in audio_infos(paths) if info is not None]
        if infos:
            check_told(told, [(info.sample_rate, info.frames) for info in infos], name)


def _number(value: object) -> float | None:
    """Return a positive number, or None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < math.inf else None


def _rounding(value: object) -> float:
    """Return one unit of the last decimal of a number as it is written."""
    _, _, decimals = str(value).strip().partition(".")
    return 10.0 ** -len(decimals) if decimals.isdecimal() else 1.0


def _told(values: Sequence[float]) -> str:
    return " and ".join(f"{value:g}" for value in dict.fromkeys(values))
