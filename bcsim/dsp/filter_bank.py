"""A filter bank whose gains may change from frame to frame, with perfect reconstruction.

Frames of 32 ms every 8 ms, a square-root Hann window before and after. Four frames overlap, their
squared windows add up to 2 everywhere, so unit gains give the signal back, to rounding. Gains are
set in bands that are equally wide on HTK's mel scale, as finely at any sample rate: 40 up to 8 kHz.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.activity import SPEECH_HZ
from bcsim.dsp.fir import fast_length
from bcsim.dsp.mel import hz_to_mel, mel_centres, mel_means
from bcsim.dsp.spectra import minimum_phase

FRAME_S = 0.032
BANDS_TO_8_KHZ = 40
OVERLAP = 4  # frames over every sample
BLOCK = 128  # frames at a time on a CPU, so that they stay in its cache
SUMMED_AT_ONCE = 1 << 14  # frames, lest an hour's powers be in memory beside its levels


@dataclass(frozen=True)
class FilterBank:
    """Levels in bands, and gains on them, at a sample rate in Hz.

    Example:
        >>> bank = FilterBank(16_000)
        >>> bank.num_fft, bank.hop, bank.num_bands
        (512, 128, 40)
        >>> noise = torch.randn(2, 1000, dtype=torch.float64, generator=torch.Generator())
        >>> unit = torch.zeros_like(bank.levels_db(noise))
        >>> bool((bank.filter(noise, unit) - noise).abs().max() < 1e-12)
        True
    """

    sample_rate: int

    @cached_property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return fast_length(round(FRAME_S * self.sample_rate / OVERLAP))

    @property
    def num_fft(self) -> int:
        """Samples in a frame."""
        return OVERLAP * self.hop

    @cached_property
    def num_bands(self) -> int:
        """Bands from 0 Hz to half the sample rate."""
        nyquist, reference = hz_to_mel(torch.tensor([self.sample_rate / 2, 8000.0])).tolist()
        return max(8, round(BANDS_TO_8_KHZ * nyquist / reference))

    @cached_property
    def centres_hz(self) -> Tensor:
        """Centre frequencies of the bands, (M,)."""
        return mel_centres(self.sample_rate, self.num_bands)

    @cached_property
    def weights(self) -> Tensor:
        """Filters whose product with powers in bins is the mean power in a band, (M, F)."""
        return mel_means(self.sample_rate, self.num_fft, self.num_bands)

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Return how many frames touch clips of so many samples."""
        return (num_samples + self.num_fft - 2) // self.hop

    def levels_db(self, signal: Tensor) -> Tensor:
        """Return the mean power in each band of each frame in dB, not below -200 dB.

        Args:
            signal: (B, T).

        Returns:
            (B, frames, M); a sine of amplitude 1 has about 10 log10(num_fft) dB in its band.
        """
        weights = self.weights.T.to(signal)
        powers = [
            (spectra.real.square() + spectra.imag.square()) @ weights
            for spectra in self._spectra(signal)
        ]
        return 10 * torch.cat(powers, dim=1).clamp(min=1e-20).log10()

    def power(self, levels_db: Tensor) -> Tensor:
        """Return the power in all bands together, (B, frames), from levels (B, frames, M)."""
        return _sums(levels_db, slice(None))

    def speech_power(self, levels_db: Tensor) -> Tensor:
        """Return the power by which speech is told from pauses, that above 300 Hz, (B, frames).

        Args:
            levels_db: (B, frames, M), levels in the bands.
        """
        return _sums(levels_db, self.centres_hz > SPEECH_HZ)

    def filter(self, signal: Tensor, gains_db: Tensor, minimum: bool = False) -> Tensor:
        """Filter every frame with its gains and add the frames up.

        Args:
            signal: (B, T).
            gains_db: (B, frames, M), interpolated between the bands' centres.
            minimum: whether the gains have minimum phase; else zero phase.

        Returns:
            (B, T).
        """
        total = gains_db.new_zeros(len(signal), gains_db.shape[1] + OVERLAP - 1, self.hop)
        to_log = self._between_centres.to(gains_db) * (math.log(10) / 20)
        window = self._window(gains_db) / (OVERLAP / 2)
        start = 0
        for block in self._spectra(signal):
            curve = gains_db[:, start : start + block.shape[1]] @ to_log
            if minimum:
                block = block * torch.polar(curve.exp(), minimum_phase(curve))
            else:  # a real factor for real and imaginary part: half the work of a complex one
                block = torch.view_as_complex(torch.view_as_real(block) * curve.exp()[..., None])
            parts = torch.fft.irfft(block, self.num_fft) * window
            parts = parts.unflatten(-1, (OVERLAP, self.hop))
            for k in range(OVERLAP):
                total[:, start + k : start + k + parts.shape[1]] += parts[:, :, k]
            start += block.shape[1]
        before = self.num_fft - self.hop
        return total.flatten(1)[:, before : before + signal.shape[-1]]

    def _spectra(self, signal: Tensor) -> Iterator[Tensor]:
        """Yield the spectra of all frames that touch the signal, (B, some frames, F) at a time.

        To transform twice, for levels and for filtering, costs less than to keep all spectra.
        """
        num_samples = signal.shape[-1]
        frames = int(self.num_frames(torch.tensor(num_samples)))
        before = self.num_fft - self.hop
        after = (frames - 1) * self.hop + self.num_fft - before - num_samples
        padded = pad(signal, (before, after))
        window = self._window(signal)
        size = BLOCK if signal.device.type == "cpu" else frames
        for block in padded.unfold(-1, self.num_fft, self.hop).split(size, dim=1):
            yield torch.fft.rfft(block * window)

    @cached_property
    def _between_centres(self) -> Tensor:
        """Return the matrix from band gains to bins, (M, F), linear in Hz, held at both ends."""
        bins = torch.arange(self.num_fft // 2 + 1, dtype=torch.float64)
        hz = (bins * (self.sample_rate / self.num_fft)).clamp(
            float(self.centres_hz[0]), float(self.centres_hz[-1])
        )
        left = torch.searchsorted(self.centres_hz, hz, right=True) - 1
        left = left.clamp(0, self.num_bands - 2)
        start, end = self.centres_hz[left], self.centres_hz[left + 1]
        part = (hz - start) / (end - start)
        matrix = torch.zeros(self.num_bands, len(bins), dtype=torch.float64)
        columns = torch.arange(len(bins))
        matrix[left, columns] = 1 - part
        matrix[left + 1, columns] = part
        return matrix

    def _window(self, like: Tensor) -> Tensor:
        window = torch.hann_window(self.num_fft, dtype=torch.float64, device=like.device)
        return window.sqrt().to(like.dtype)


def _sums(levels_db: Tensor, bands: Tensor | slice) -> Tensor:
    """Return the power in some of the M bands, (B, frames), from levels (B, frames, M)."""
    parts = levels_db.split(SUMMED_AT_ONCE, dim=-2)
    return torch.cat([(10 ** (part[..., bands] / 10)).sum(dim=-1) for part in parts], dim=-1)
