"""The distance of log-mel spectra."""

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, pad

from bcsim.dsp.mel import mel_bank
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import check_frames, check_length, spectrum_parts

_POWER_FLOOR = 1e-9  # added under the root, whose slope is then finite in silence
_MEL_FLOOR = 1e-5


@LOSSES.register("mel_l1")
class MelL1(Objective):
    r"""Mean absolute error of log-mel magnitudes, as HiFi-GAN is trained with.

    .. math::
        \mathrm{mean} \lvert \ln M(\hat{s}) - \ln M(s) \rvert, \quad
        M(s) = \max\big(W \sqrt{\lvert S \rvert^2 + 10^{-9}},\; 10^{-5}\big)

    with Slaney's mel filters W of equal area. The frames are Hann windows; the signal is reflected
    by half of (FFT size - hop) at both ends, so that T samples give T / hop frames. Kong, Kim and
    Bae, arXiv 2010.05646, who weight it by 45.

    Args:
        num_mels: number of mel bands.
        fft_size: size of the FFT and length of the window, in samples.
        hop_size: hop in samples.
        f_min_hz: lower end of the lowest band in Hz.
        f_max_hz: upper end of the highest band in Hz; half the sample rate where None.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: if the sizes or frequencies make no frames or no bands, or a band is so narrow
            that no bin of the FFT falls into it.
    """

    window: Tensor
    bank: Tensor

    def __init__(
        self,
        num_mels: int = 80,
        fft_size: int = 1024,
        hop_size: int = 256,
        f_min_hz: float = 0.0,
        f_max_hz: float | None = None,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, fft_size)
        f_max_hz = sample_rate / 2 if f_max_hz is None else f_max_hz
        if not 0 <= f_min_hz < f_max_hz <= sample_rate / 2:
            raise ValueError(
                f"f_min_hz {f_min_hz:g}, f_max_hz {f_max_hz:g} at {sample_rate} Hz; "
                f"it wants 0 <= f_min_hz < f_max_hz <= {sample_rate / 2:g}"
            )
        if num_mels < 1:
            raise ValueError(f"num_mels is {num_mels}; it wants 1 or more")
        self.fft_size, self.hop_size = fft_size, hop_size
        self.padding = (fft_size - hop_size) // 2
        # A reflection is shorter than the signal, and one frame has to fit between the two ends.
        self.min_samples = max(self.padding + 1, fft_size - 2 * self.padding)
        bank = mel_bank(sample_rate, fft_size, num_mels, f_min_hz=f_min_hz, f_max_hz=f_max_hz)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        check_length(estimate, self.min_samples, self.fft_size)
        return {"mel_l1": l1_loss(self.log_mel(estimate), self.log_mel(target))}

    def log_mel(self, signal: Tensor) -> Tensor:
        """Return the natural logarithm of the mel magnitudes of (B, 1, T), (B, M, frames)."""
        reflected = pad(signal, (self.padding, self.padding), mode="reflect")[:, 0]
        framing = (self.fft_size, self.hop_size, self.window)
        parts = spectrum_parts(reflected, *framing, center=False)
        magnitude = (parts.square().sum(-1) + _POWER_FLOOR).sqrt()
        return (self.bank @ magnitude).clamp(min=_MEL_FLOOR).log()
