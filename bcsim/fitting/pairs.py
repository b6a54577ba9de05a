"""A pair of recordings, before and after alignment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy  # its parts are loaded when they are asked for
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.dsp.activity import is_active, speech_power_of
from bcsim.dsp.fir import fast_length
from bcsim.dsp.lazy_signal import Samples
from bcsim.dsp.spectra import (
    CrossSpectra,
    cross_spectra,
    density_to_power,
    fractional_octave_smooth,
)
from bcsim.errors import InputError
from bcsim.fitting.alignment.time_map import Part
from bcsim.sensors.recorded_pair import RecordedPair

FRAME_S = 0.064
TOLD_WITHIN_S = 0.1  # of a jump whose time is told as one
MIN_SECONDS = 0.5
LARGEST = 1e3  # of samples, whose full scale is 1: 60 dB over it is no recording


class UnusablePair(InputError):
    """Nothing can be fitted to a pair: its name, the kind of defect as in `Finding`, and why."""

    def __init__(self, name: str, kind: str, text: str):
        super().__init__(f"{name}: {text}")
        self.kind, self.text = kind, text


@dataclass(frozen=True, eq=False)
class NoiseFloor:
    """The stationary noise of one recording.

    Args:
        psd: (F,), one-sided density in 1/Hz, in units of the signal's power.
        pause_seconds: duration of the pauses from which it was taken.
        from_pauses: False where there were no pauses. Then the density is that of the quietest
            frames, an upper bound, for speech may be in them; or 0, where nothing is known.
    """

    psd: Tensor
    pause_seconds: float
    from_pauses: bool


@dataclass(frozen=True)
class Jump:
    """A sudden change of the delay between the channels, as a dropped buffer makes it.

    Args:
        time_s: likeliest time of the jump in the recording of air.
        size_s: increase of bone's delay at the jump; negative where a piece of bone is missing.
        first_s: earliest likely time: in a pause, little tells when it was.
        last_s: latest likely time.
    """

    time_s: float
    size_s: float
    first_s: float
    last_s: float

    def moved(self, by_s: float) -> "Jump":
        """Return the jump in a recording that begins so many seconds earlier."""
        times = (self.time_s + by_s, self.size_s, self.first_s + by_s, self.last_s + by_s)
        return Jump(*times)

    def __str__(self) -> str:
        first_s, last_s = self.first_s, self.last_s
        if last_s - first_s < TOLD_WITHIN_S:
            return f"{1e3 * self.size_s:+.1f} ms at {self.time_s:.2f} s"
        return f"{1e3 * self.size_s:+.1f} ms between {first_s:.1f} and {last_s:.1f} s"


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """A pair after alignment: no DC, delay or drift, upright, both channels of active level 1.

    Args:
        name: name of the recorded pair.
        talker: name of the talker, or None where that is unknown.
        air: (T,), active RMS 1; lazy where it is long, its slices float64.
        bone: (T,), active RMS 1; lazy where it is long.
        sample_rate: in Hz.
        active: (frames,) of bool, frames of the analysis (`num_fft`, hop a quarter) with speech.
        num_fft: frame length of the analysis.
        noise: noise of the sensor, in units of the power of active bone speech.
        air_noise: noise of the air channel, in units of the power of active air speech.
        delay_s: delay at the start that was taken out of bone; negative where bone led. Clocks that
            run apart and lost buffers have not changed it yet.
        level_db: active level of bone relative to that of air, as recorded.
        seconds: duration of the pair.
        active_seconds: duration of its active frames.
        drift_ppm: growth of bone's delay that was taken out, in microseconds a second.
        inverted: whether the polarity was opposite to that of the other pairs.
        jumps: jumps of the delay; the parts between them are joined in this pair.
        parts: where in the recordings the samples of the pair are.
        left_out_s: seconds that both recordings hold and that are not used, beside jumps.
        low_hz: frequency in Hz below which the channels were filtered away.
    """

    name: str
    talker: str | None
    air: Samples
    bone: Samples
    sample_rate: int
    active: Tensor
    num_fft: int
    noise: NoiseFloor
    air_noise: NoiseFloor
    delay_s: float
    level_db: float
    seconds: float
    active_seconds: float
    drift_ppm: float = 0.0
    inverted: bool = False
    jumps: tuple[Jump, ...] = ()
    parts: tuple[Part, ...] = ()
    left_out_s: float = 0.0
    low_hz: float = 0.0

    @cached_property
    def spectra(self) -> CrossSpectra:
        """Return the spectra of the active frames; x is air, y is bone."""
        return cross_spectra(self.air, self.bone, self.num_fft, self.num_fft // 4, self.active)

    @cached_property
    def noise_power(self) -> Tensor:
        """Return the noise power in the bins of `spectra.yy`, (F,)."""
        return self.noise.psd * density_to_power(self.sample_rate, self.num_fft)

    @cached_property
    def air_noise_power(self) -> Tensor:
        """Return the noise power in the bins of `spectra.xx`, (F,)."""
        return self.air_noise.psd * density_to_power(self.sample_rate, self.num_fft)

    @property
    def noise_to_speech(self) -> float:
        """Return the power of the sensor's noise relative to that of active bone speech."""
        return float(self.noise.psd.sum()) * self.sample_rate / self.num_fft

    @property
    def noise_db(self) -> float:
        """Return `noise_to_speech` in dB, not below -200 dB."""
        return 10 * math.log10(max(self.noise_to_speech, 1e-20))

    @property
    def coherence(self) -> float:
        """Return the mean coherence over frequency, each bin weighted with the sensor's power."""
        spectra = self.spectra
        return float((spectra.yy * spectra.coherence).sum() / spectra.yy.sum())

    def scaled(self, gain: float) -> "AlignedPair":
        """Return the pair with bone, and its noise, times `gain`."""
        noise = replace(self.noise, psd=self.noise.psd * gain**2)
        return replace(self, bone=self.bone * gain, noise=noise)


def bins_above_noise(spectra: Sequence[CrossSpectra], air_noise: Sequence[Tensor]) -> Tensor:
    """Tell in which bins the air channel holds speech, (F,) of bool.

    Elsewhere - above the band of a recording that was once at a lower rate, under the noise of
    the room - the ratio of the channels is no response. Speech must exceed the noise of the
    pauses by 2 dB, over a sixth of an octave, and reach within 70 dB of its own maximum.

    Args:
        spectra: spectra of each aligned pair.
        air_noise: (F,) of each, noise power of air in the bins of these spectra.
    """
    speech = torch.stack([own.xx for own in spectra]).sum(dim=0)
    noise = torch.stack(list(air_noise)).sum(dim=0)
    over_noise = fractional_octave_smooth(speech, 6) > 1.6 * fractional_octave_smooth(noise, 6)
    return over_noise & (speech > 1e-7 * speech.max())


def high_passed(pair: RecordedPair, cutoff_hz: float, sample_rate: int) -> RecordedPair:
    """Return the pair without what lies below `cutoff_hz`; one that `check_pair` refuses, as is.

    Butterworth, of fourth order, forward and backward, so that nothing is delayed.
    """
    try:
        check_pair(pair, sample_rate)
    except UnusablePair:
        return pair
    signal: Any = scipy.signal  # whose stubs take arrays for integers
    sections = signal.butter(4, cutoff_hz, btype="high", fs=sample_rate, output="sos")
    air, bone = (
        signal.sosfiltfilt(sections, np.asarray(samples, dtype=np.float64))
        for samples in (pair.air, pair.bone)
    )
    return replace(pair, air=air, bone=bone)


def frame_size(sample_rate: int) -> int:
    """Return the frame length of the analysis, about 64 ms."""
    return fast_length(round(FRAME_S * sample_rate))


def frames_with_speech(air: Samples, sample_rate: int) -> Tensor:
    """Tell which frames of the analysis (`frame_size`, hop a quarter) carry speech.

    Args:
        air: (T,), signal of the air microphone.
        sample_rate: in Hz.

    Returns:
        (frames,) of bool.
    """
    num_fft = frame_size(sample_rate)
    return is_active(speech_power_of(air, sample_rate, num_fft, num_fft // 4))


def check_pair(pair: RecordedPair, sample_rate: int) -> None:
    """Check that something can be fitted to a recorded pair.

    Raises:
        UnusablePair: naming the pair and the reason.
    """
    for role, samples in (("air", pair.air), ("bone", pair.bone)):
        problem = _malformed(samples)
        if problem is not None:
            raise UnusablePair(pair.name, "malformed", f"{role} {problem}")
    length = min(len(pair.air), len(pair.bone))
    if length < MIN_SECONDS * sample_rate:
        text = f"{length / sample_rate:.2f} s are too short; a pair needs {MIN_SECONDS:g} s"
        raise UnusablePair(pair.name, "malformed", text)
    for role, samples in (("air", pair.air), ("bone", pair.bone)):
        if np.ptp(samples) == 0:
            text = f"{role} is silent (every sample is {samples[0]:g})"
            raise UnusablePair(pair.name, "silent", text)
    if np.array_equal(pair.air[:length], pair.bone[:length]):
        raise UnusablePair(pair.name, "identical", "air and bone are the same recording")


def _malformed(samples: NDArray[np.floating]) -> str | None:
    if samples.ndim != 1:
        return f"has shape {samples.shape}, not one channel"
    if not np.isfinite(samples).all():
        return "holds samples that are not finite numbers"
    peak = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
    return f"has samples of {peak:.3g}, where full scale is 1" if peak > LARGEST else None
