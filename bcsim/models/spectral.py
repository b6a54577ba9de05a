"""What enhancers share that work on the frames of a short-time Fourier transform."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.dsp.activity import loud_power
from bcsim.dsp.spectra import power_of, sine_window
from bcsim.models.base import Enhancer

_MIN_WINDOW_SUM = 1e-3
DECAY_DB_PER_S = 2.0  # of the level of loud speech that a causal network holds
MIN_LOUD_POWER = 1e-6  # 60 dB below full scale: what is softer is silence


class Frames(nn.Module):
    """A short-time Fourier transform and its inverse, without look-ahead beyond the window.

    The signal is padded with a window less a hop of zeros at both ends, so that every sample lies
    in the same number of frames; frame k ends with sample (k + 1) hop - 1. Without a change to the
    spectra the inverse gives the signal back.

    Args:
        fft_size: size of the FFT in samples, F = fft_size // 2 + 1.
        hop_size: hop in samples.
        analysis: window of the analysis, (W,), W a multiple of the hop and at most `fft_size`.
        synthesis: window of the synthesis, (W,).

    Attributes:
        look_ahead: largest distance in samples of a sample after another one of the same frame that
            depends on it.

    Raises:
        ValueError: if the sizes do not fit together, or the windows leave samples out.
    """

    analysis: Tensor
    synthesis: Tensor

    def __init__(
        self,
        fft_size: int,
        hop_size: int,
        analysis: NDArray[np.float64],
        synthesis: NDArray[np.float64],
    ) -> None:
        super().__init__()
        length = len(analysis)
        if not (0 < hop_size <= length <= fft_size and length % hop_size == 0):
            raise ValueError(
                f"fft size {fft_size}, hop {hop_size}, window {length}; it wants "
                "0 < hop <= window <= fft size, the window a multiple of the hop"
            )
        total = (analysis * synthesis).reshape(-1, hop_size).sum(0)
        if total.min() < _MIN_WINDOW_SUM:
            raise ValueError("the windows of frames that overlap leave samples out")
        self.fft_size, self.hop_size, self.length = fft_size, hop_size, length
        synthesis = synthesis / np.tile(total, length // hop_size)
        # Windows that begin or end with zeros look ahead by so much less.
        self.look_ahead = int(np.flatnonzero(analysis)[-1] - np.flatnonzero(synthesis)[0])
        for name, window in (("analysis", analysis), ("synthesis", synthesis)):
            self.register_buffer(name, torch.from_numpy(window).float(), persistent=False)

    def spectra(self, signal: Tensor) -> Tensor:
        """Return the spectra of signals, (..., frames, F), complex.

        Args:
            signal: (..., T), T a multiple of the hop.
        """
        edge = self.length - self.hop_size
        frames = pad(signal, (edge, edge)).unfold(-1, self.length, self.hop_size)
        return torch.fft.rfft(frames * self.analysis, self.fft_size)

    def signal(self, spectra: Tensor) -> Tensor:
        """Return the signal of spectra, (..., T), T = hop (frames + 1 - W / hop)."""
        frames = torch.fft.irfft(spectra, self.fft_size)[..., : self.length] * self.synthesis
        overlap = self.length // self.hop_size
        parts = frames.unflatten(-1, (overlap, self.hop_size))
        num_hops = frames.shape[-2] + 1 - overlap
        # Hop h of the signal is part r of frame h + overlap - 1 - r, for every r.
        starts = range(overlap - 1, -1, -1)
        added = sum(
            parts[..., start : start + num_hops, part, :] for part, start in enumerate(starts)
        )
        assert isinstance(added, Tensor)
        return added.flatten(-2)


def sine_frames(length: int) -> Frames:
    """Return frames of a sine window, the root of a Hann window, both ways; half of them overlaps.

    Args:
        length: length of the window and size of the FFT in samples, even.
    """
    window = sine_window(length)
    return Frames(length, length // 2, window, window)


class SpectralEnhancer(Enhancer):
    """An enhancer of spectra, which subclasses define in `enhance_spectra`.

    Subclasses call `set_frames` in their constructor.

    The network may see its input relative to the level of loud speech, each channel by itself, and
    its output is as much louder as the last channel was: a gain before the network is the same
    gain behind it. That level is the 98th percentile of the frames' power, or, in a causal network,
    the highest power so far, which decays by 2 dB a second.
    """

    frames: Frames
    relative_level: bool
    _loud_power: Tensor | None = None  # of the whole recording, while a part of it is enhanced

    def set_frames(
        self, frames: Frames, look_ahead: int | None = 0, *, relative_level: bool = True
    ) -> None:
        """Set the transform, and the attributes that follow from it.

        Args:
            frames: transform from signals to spectra and back.
            look_ahead: frames after its own that an output frame depends on; None for all.
            relative_level: whether the network sees its input relative to the level of loud speech.
        """
        self.frames, self.relative_level = frames, relative_level
        self.frame_samples = frames.hop_size
        self.history_samples = None
        self.latency_samples = (
            None if look_ahead is None else frames.look_ahead + look_ahead * frames.hop_size
        )
        self.causal = look_ahead == 0

    @abstractmethod
    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        """Return the spectra (B, frames, F) of speech for those (B, C, frames, F) of the input."""

    def enhance_valid(self, signal: Tensor) -> Tensor:
        spectra = self.frames.spectra(signal)
        if not self.relative_level:
            return self.frames.signal(self.enhance_spectra(spectra))[:, None]
        level = self._level(power_of(spectra).mean(-1))
        enhanced = self.enhance_spectra(spectra / level[..., None])
        return self.frames.signal(enhanced * level[:, -1, :, None])[:, None]

    def loudness_of_frames(self, signal: Tensor) -> Tensor | None:
        if not self.relative_level or self.latency_samples is not None:
            return None
        return power_of(self.frames.spectra(signal)).mean(-1)

    @contextmanager
    def at_loudness(self, power: Tensor | None) -> Iterator[None]:
        self._loud_power = None if power is None else _of_loud_frames(power + self._least_power)
        try:
            yield
        finally:
            self._loud_power = None

    @property
    def _least_power(self) -> Tensor:
        return MIN_LOUD_POWER * self.frames.analysis.square().sum()

    def _level(self, power: Tensor) -> Tensor:
        """Return the amplitude of loud frames at each frame for (B, C, frames) of their power."""
        power = power + self._least_power
        if self.latency_samples is None:
            loud = _of_loud_frames(power) if self._loud_power is None else self._loud_power
            return loud.expand_as(power).sqrt()
        decay = DECAY_DB_PER_S * self.frames.hop_size / self.sample_rate
        fallen = decay * torch.arange(power.shape[-1], device=power.device, dtype=power.dtype)
        held_db = (10 * power.log10() + fallen).cummax(-1).values - fallen
        return 10 ** (held_db / 20)


def recurrent_outputs(layer: nn.LSTM, sequence: Tensor) -> Tensor:
    """Return the outputs (B, frames, units) of a layer for its inputs, in the weights' precision.

    In mixed precision too: PyTorch has no LSTM of half precision for CPUs without AVX-512.
    """
    with torch.autocast(sequence.device.type, enabled=False):
        return layer(sequence.to(next(layer.parameters())))[0]


def _of_loud_frames(power: Tensor) -> Tensor:
    """Return the power of loud frames, (B, C, 1), for (B, C, frames) of power."""
    return loud_power(power.flatten(0, 1)).unflatten(0, power.shape[:2])


def complex_of(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return complex numbers in single precision at least: there are none of half precision."""
    wide = torch.promote_types(real.dtype, torch.float32)
    return torch.complex(real.to(wide), imaginary.to(wide))
