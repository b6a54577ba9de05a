"""Delays that need not be whole samples, applied in the frequency domain."""

import math

import torch
from torch import Tensor

from bcsim.dsp.fir import fast_length, frequency_grid
from bcsim.dsp.lazy_signal import LazySignal, Samples, is_long

LONG_TAIL = 1 << 12  # samples of it between the blocks of a long signal
SINC_TAIL = 64  # samples of room for the sinc that a fractional delay rings with


def delay_response(frequencies_hz: Tensor, delay_s: Tensor) -> Tensor:
    r"""Return :math:`e^{-j2\pi f\tau}`, (B, F), for delays (B,): positive is later."""
    return torch.exp(-2j * math.pi * frequencies_hz * delay_s[:, None])


def delay_signal(signal: Tensor, delay_samples: Tensor) -> Tensor:
    """Delay each row of a signal (B, T) by any number of samples (B,); negative moves it earlier.

    Silence comes in at one end; what leaves at the other is lost.

    Example:
        >>> delay_signal(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1.0])).abs().round()
        tensor([[0., 1., 2.]])
    """
    num_samples = signal.shape[-1]
    # A row that is moved right out of view is silent, however far: no need to pad further.
    delay_samples = delay_samples.to(torch.float64).clamp(-num_samples - 1, num_samples + 1)
    whole = delay_samples.round()
    longest = int(whole.abs().max()) + SINC_TAIL
    size = fast_length(num_samples + longest)
    frequencies = frequency_grid(size, 1, signal)
    spectrum = torch.fft.rfft(signal, size)
    shifted = spectrum * delay_response(frequencies, delay_samples).to(spectrum.dtype)
    # Whole samples are exact; the phase of the last bin only matters between them, where the
    # real part is what a real signal keeps.
    return torch.fft.irfft(shifted, size)[..., :num_samples].to(signal.dtype)


def delayed(signal: Samples, delay_samples: float) -> Samples:
    """Return what `delay_signal` does with a signal (T,) of any length.

    A long one is delayed when its samples are asked for; not delayed, it is as it is.
    """
    delay = torch.tensor([delay_samples], dtype=torch.float64)
    if not is_long(len(signal)):
        return delay_signal(signal[:][None], delay)[0]
    if delay_samples == 0:
        return signal
    margin = LONG_TAIL + abs(round(delay_samples))
    rise = torch.sin(torch.linspace(0, math.pi / 2, LONG_TAIL // 2)).square().double()

    def read(start: int, stop: int) -> Tensor:
        begin = max(0, start - margin)
        block = signal[begin : stop + margin]
        # Faded where it was cut, which would ring.
        if begin > 0:
            block[: len(rise)] *= rise
        if stop + margin < len(signal):
            block[-len(rise) :] *= rise.flip(0)
        return delay_signal(block[None], delay)[0, start - begin : stop - begin]

    return LazySignal(len(signal), read)
