"""Two signals made comparable once, for all metrics: an estimate and the real one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import soxr
import torch
from torch import Tensor

from bcsim.dsp.activity import active_frames, active_rms, hop_size
from bcsim.dsp.mel import mel_bank
from bcsim.dsp.signals import check_rate, check_wave
from bcsim.dsp.spectra import stft

SAMPLE_RATE = 16_000
HOP = hop_size(SAMPLE_RATE)
NUM_FFT = 2 * HOP
FLOOR_DB = 80.0  # under the maximum of the real signal: nothing lower counts
NUM_MELS = 40
SILENCE = 2.0**-24  # of full scale: nothing below it is left in a file of 24 bits


@dataclass(frozen=True, eq=False)
class Comparison:
    """An estimate beside the real signal, at 16 kHz.

    Frames have 512 samples every 256 (Hann), whole frames only. A silent real signal has nothing
    to compare with: every metric is NaN then. A silent estimate has the worst value of each.

    Args:
        estimate: (T,), float64, simulated or enhanced signal.
        real: (T,), float64, recorded or clean signal.
        active: (frames,) of bool, frames with speech.
        top_hz: highest frequency in Hz that counts; at lower sample rates there is nothing above.
        reference: (T,), signal that decided which frames are active; None for the real one.
    """

    estimate: Tensor
    real: Tensor
    active: Tensor
    top_hz: float = SAMPLE_RATE / 2
    reference: Tensor | None = None

    @classmethod
    def prepare(
        cls,
        estimate: Tensor,
        real: Tensor,
        sample_rate: int,
        reference: Tensor | None = None,
        match_level: bool = True,
    ) -> "Comparison":
        """Remove DC, cut to the common length, resample to 16 kHz and match levels.

        An estimate that is silent but for DC, or not finite, becomes zero.

        Args:
            estimate: (T,), simulated or enhanced signal.
            real: (T,), recorded or clean signal.
            sample_rate: sample rate of all signals in Hz.
            reference: (T,), signal that decides which frames are active: air for a simulator; the
                real signal where None.
            match_level: whether the estimate is scaled to the real signal's active RMS.

        Raises:
            InputError: if a signal is no tensor (T,) of float32 or float64, or for an odd rate.
        """
        reference = real if reference is None else reference
        for name, signal in {"estimate": estimate, "real": real, "reference": reference}.items():
            check_wave(signal, name)
        check_rate(sample_rate)
        length = min(len(signal) for signal in (estimate, real, reference))
        estimate, real, reference = (
            _at_16k(signal[:length], sample_rate) for signal in (estimate, real, reference)
        )
        active = active_frames(reference[None], SAMPLE_RATE)[0]
        if _is_silent(estimate):  # or rounding errors would be scaled up
            estimate = torch.zeros_like(estimate)
        if match_level:
            have, want = (
                float(active_rms(signal[None], active[None], SAMPLE_RATE))
                for signal in (estimate, real)
            )
            estimate = estimate * (want / have) if have > 0 else estimate
        # Below its Nyquist frequency a resampled signal has an edge of its own.
        top_hz = min(SAMPLE_RATE / 2, 0.95 * sample_rate / 2 if sample_rate < SAMPLE_RATE else 1e9)
        return cls(estimate, real, active, top_hz, reference)

    @property
    def air(self) -> Tensor:
        """The reference, (T,): air for a simulator, the real signal itself for an enhancer."""
        return self.real if self.reference is None else self.reference

    @property
    def is_void(self) -> bool:
        """Whether the real signal is silent or not finite, or no frame is active."""
        return not bool(self.active.any()) or _is_silent(self.real)

    @property
    def is_dead(self) -> bool:
        """Whether the estimate is silent or not finite."""
        return _is_silent(self.estimate)

    @cached_property
    def frequencies_hz(self) -> Tensor:
        """Frequencies of the bins, (F,)."""
        return torch.linspace(0, SAMPLE_RATE / 2, NUM_FFT // 2 + 1, dtype=torch.float64)

    @cached_property
    def levels_db(self) -> tuple[Tensor, Tensor]:
        """Levels of estimate and real, (frames, F) each, floored 80 dB under real's maximum."""
        return _floored(self.powers)

    @cached_property
    def mel_levels_db(self) -> tuple[Tensor, Tensor]:
        """Levels in 40 mel bands (HTK's scale, triangles of unit area), (frames, M) each."""
        # Area matters for the floor alone: what falls under it does not count.
        bank = mel_bank(SAMPLE_RATE, NUM_FFT, NUM_MELS, htk=True, dtype=np.float64)
        bank = bank[bank @ (self.frequencies_hz > self.top_hz).double() == 0]
        return _floored(tuple(power @ bank.T for power in self.powers))

    @cached_property
    def powers(self) -> tuple[Tensor, ...]:
        """Power spectra of estimate and real, (frames, F) each."""
        return powers_of(self.estimate), powers_of(self.real)


def powers_of(signal: Tensor) -> Tensor:
    """Return the power spectra (frames, F) of a signal (T,) at 16 kHz."""
    return stft(signal[None], NUM_FFT, HOP)[0].abs().square()


def _is_silent(signal: Tensor) -> bool:
    """Tell whether nothing of (T,) but DC is above the last bit of 24, or a value is not finite."""
    if not len(signal) or not bool(signal.isfinite().all()):
        return True
    return float((signal - signal.mean()).abs().max()) < SILENCE


def _at_16k(signal: Tensor, sample_rate: int) -> Tensor:
    samples = signal.detach().to("cpu", torch.float64)
    samples = samples - samples.mean() if len(samples) else samples
    if sample_rate == SAMPLE_RATE:
        return samples
    resampled = soxr.resample(samples.numpy(), sample_rate, SAMPLE_RATE, quality="VHQ")
    return torch.from_numpy(np.ascontiguousarray(resampled))


def _floored(powers: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    estimate, real = powers
    floor = float(real.max()) * 10 ** (-FLOOR_DB / 10)
    floor = max(floor, torch.finfo(torch.float64).tiny)
    estimate_db, real_db = (10 * power.clamp(min=floor).log10() for power in (estimate, real))
    return estimate_db, real_db
