"""`SensorProfile`: all that bcsim knows about one sensor, in one shareable file.

What no sensor can be is refused by the constructor, whatever the profile comes from;
`bcsim.sensors.profile_file` holds the file's format.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from bcsim.errors import InputError, UsageError, check_value, fit_line, one_line
from bcsim.files.atomic import write_bytes
from bcsim.files.text import check_text, kind_of, read_bytes
from bcsim.sensors.profile_file import NUMBERS, decode, encode
from bcsim.sensors.provenance import LowpassEquivalent, Provenance
from bcsim.sensors.responses.base import SpeechResponse
from bcsim.sensors.transfer_function import TransferFunction

MAX_BYTES = 2**23  # of a profile's file
MAX_NAME = 200  # characters of a sensor's name
MAX_REASON = 100  # characters of an error that is quoted
MAX_COMPONENTS = 8
LOWEST_HZ, BAND_EDGE = 60.0, 0.93  # a band from there up to that part of half the rate is whole
MAX_GAIN = 1e6  # 120 dB: more is no sensor
# Bounds on magnitudes, far beyond any sensor: a file with 1e200 in it would render as NaN.
_BOUNDS = {
    "spread_components_db": 100.0,
    "spread_db": 100.0,
    "noise_psd": 1e6,
    "coherence_ceiling": 1.0,
    "leakage_db": 200.0,
    "magnitude_interval_db": 200.0,
    "level_db": 200.0,
    "level_std_db": 100.0,
    "noise_level_std_db": 100.0,
    "delay_s": 10.0,
    "delay_std_s": 1.0,
}
_SIGNED = {"spread_components_db", "leakage_db", "magnitude_interval_db", "level_db", "delay_s"}


@dataclass(frozen=True, eq=False)
class SensorProfile:
    """A sensor, as fitted.

    The bone signal is air with the gains of the speech-dependent part, filtered with the response,
    plus noise with the noise PSD. Delay and polarity are kept apart from the response, so that
    pairs can be made without delay.

    Args:
        name: name of the sensor.
        sample_rate: sample rate in Hz; every array is on the grid of `transfer_function`.
        transfer_function: response with overall delay and polarity taken out; its magnitude
            includes the level (bone relative to air).
        magnitude_interval_db: (2, F), 95 % interval of the response's magnitude, in dB relative to
            it; (0, F) where it is not known.
        coherence_ceiling: (F,), coherence that a fixed filter would have with the noise of the two
            channels; the gap to the measured coherence is the speech dependence.
        spread_db: (F,), standard deviation over talkers of the response's shape.
        spread_components_db: (K, F), K up to 8, smooth. A plausible new response differs from
            the mean by `sum_k z_k component_k`, in dB, with z ~ N(0, 1).
        noise_psd: (F,), one-sided, in 1/Hz, relative to the power of active bone speech: its
            integral is the noise-to-speech power ratio.
        noise_level_std_db: standard deviation of the noise level over recordings.
        level_db: active level of bone relative to that of air, mean over utterances.
        level_std_db: standard deviation of this level over utterances.
        delay_s: delay of bone relative to air; negative where bone leads.
        delay_std_s: standard deviation of the delay over recordings.
        leakage_db: (F,), ambient noise at the sensor relative to the air microphone, in dB, or
            None where it was not measured.
        speech: the speech-dependent part, or None for a sensor that is a fixed filter.
        polarity: +1, or -1 where the sensor inverts.
        lowpass: low-pass that is nearest to the response.
        usable_band_hz: band in which the coherence exceeds 0.5; (0, 0) if there is none.
        provenance: where the profile comes from.

    Raises:
        ValueError: if shapes or values cannot be those of a sensor.
    """

    name: str
    sample_rate: int
    transfer_function: TransferFunction
    spread_db: NDArray[np.float64]
    spread_components_db: NDArray[np.float64]
    noise_psd: NDArray[np.float64]
    noise_level_std_db: float
    level_db: float
    level_std_db: float
    delay_s: float
    polarity: int
    lowpass: LowpassEquivalent
    usable_band_hz: tuple[float, float]
    provenance: Provenance
    coherence_ceiling: NDArray[np.float64]
    magnitude_interval_db: NDArray[np.float64]
    delay_std_s: float = 0.0
    leakage_db: NDArray[np.float64] | None = None
    speech: SpeechResponse | None = None

    def __post_init__(self) -> None:
        bins = len(self.transfer_function.frequencies_hz)
        components = self.spread_components_db
        check_value(
            0 < len(self.name) <= MAX_NAME, "name", self.name, f"1 to {MAX_NAME} characters"
        )
        same_rate = self.sample_rate == self.transfer_function.sample_rate
        check_value(same_rate, "sample_rate", self.sample_rate, "that of the response")
        check_value(1000 <= self.sample_rate <= 384_000, "sample_rate", self.sample_rate, "audio")
        peak = float(np.abs(self.transfer_function.response).max())
        check_value(peak <= MAX_GAIN, "response", peak, f"at most {MAX_GAIN:g}")
        shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("spread_db", "noise_psd", "coherence_ceiling"), (bins,)),
            "spread_components_db": (len(components), bins),
            "magnitude_interval_db": (2 if len(self.magnitude_interval_db) else 0, bins),
        }
        if self.leakage_db is not None:
            shapes["leakage_db"] = (bins,)
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            check_value(found == shape, f"shape of {name}", found, str(shape))
        check_value(len(components) <= MAX_COMPONENTS, "spread_components_db", len(components), "8")
        for name in (*shapes, *NUMBERS):
            _check_range(name, np.asarray(getattr(self, name)))
        if self.speech is not None:
            rate = self.speech.sample_rate
            check_value(rate == self.sample_rate, "sample_rate of speech", rate, "the sensor's")
        check_value(self.polarity in (1, -1), "polarity", self.polarity, "1 or -1")
        low, high = self.usable_band_hz
        in_order = 0 <= low <= high <= self.sample_rate / 2
        check_value(in_order, "usable_band_hz", self.usable_band_hz, "ordered")
        cutoff_hz, q = self.lowpass.cutoff_hz, self.lowpass.q
        check_value(0 < cutoff_hz < self.sample_rate / 2, "lowpass.cutoff_hz", cutoff_hz, "in band")
        check_value(0 < q < 1000, "lowpass.q", q, "positive")
        check_value(math.isfinite(self.lowpass.gain_db), "lowpass.gain_db", "not finite", "finite")

    @property
    def recorded_band_hz(self) -> tuple[float, float]:
        """Band that the recordings held, outside of which the coherence is 0 and nothing is known.

        Coherence is a measurement, and comes out as 0 for a bin here and there, hence the margins.
        """
        grid, coherence = self.transfer_function.frequencies_hz, self.transfer_function.coherence
        places = np.flatnonzero(coherence)
        first, last = (places[0], places[-1]) if len(places) else (0, len(grid) - 1)
        low_hz = 0.0 if grid[first] < LOWEST_HZ else float(grid[first])
        return low_hz, float(grid[-1] if last >= BAND_EDGE * (len(grid) - 1) else grid[last])

    def impulse_response(self) -> tuple[NDArray[np.float64], int]:
        """Return the taps (2 (F - 1),) with polarity, without delay, and the index of time zero."""
        taps, centre = self.transfer_function.impulse_response()
        return self.polarity * taps, centre

    def noise_to_speech_db(self) -> float:
        """Return the noise power relative to that of active bone speech, not below -200 dB."""
        power = np.trapezoid(self.noise_psd, self.transfer_function.frequencies_hz)
        return 10 * math.log10(max(float(power), 1e-20))

    def to_bytes(self) -> bytes:
        """Return the content of the profile's file; equal profiles give equal bytes."""
        return encode({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "SensorProfile":
        """Return the profile whose file holds these bytes; `decode` says what it raises."""
        return cls(**decode(content))

    def save(self, path: str | Path) -> None:
        """Write the profile, whole or not at all; equal profiles give equal bytes.

        Raises:
            UsageError: if its name, source or licence is no plain text.
            InputError: if it would exceed 8 MiB.
            EnvironmentFault: if the disk is full or forbidden.
        """
        check_labels(self.name, self.provenance.source, self.provenance.licence)
        content = self.to_bytes()
        if len(content) > MAX_BYTES:
            raise InputError(f"{path}: {len(content)} bytes exceed the {MAX_BYTES} of a profile")
        self.from_bytes(content)  # what could not be read again gets no name
        write_bytes(Path(path), content)

    @classmethod
    def load(cls, path: str | Path) -> "SensorProfile":
        """Read a profile, as untrusted input.

        Raises:
            InputError: if the file is missing, too large, damaged, of another schema, or holds
                what no sensor can be; the message names the file and the remedy.
        """
        content = read_bytes(Path(path), MAX_BYTES, "a sensor profile")
        try:
            return cls.from_bytes(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (
            ValueError, TypeError, KeyError, IndexError, OverflowError, SafetensorError
        ) as error:  # fmt: skip
            reason = kind_of(content) or fit_line(one_line(error), MAX_REASON)
            raise InputError(
                f"{path}: not a sensor profile ({reason}); fit it again with bcsim fit-response"
            ) from error


def check_labels(name: str, source: str, licence: str) -> None:
    """Check what the user says of a sensor, before anything is fitted.

    Raises:
        UsageError: if a text holds control characters or no UTF-8, or the name is empty, longer
            than 200 characters or not on one line.
    """
    try:
        check_value(0 < len(name) <= MAX_NAME, "name", name, f"1 to {MAX_NAME} characters")
        check_text("name", name, several_lines=False)
        check_text("source", source)
        check_text("licence", licence)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_range(name: str, values: NDArray[np.float64]) -> None:
    check_value(bool(np.isfinite(values).all()), name, "not finite", "finite numbers")
    magnitude, bound = float(np.abs(values).max(initial=0)), _BOUNDS[name]
    check_value(magnitude <= bound, name, magnitude, f"at most {bound:g}")
    check_value(name in _SIGNED or bool((values >= 0).all()), name, "negative", "0 or more")
