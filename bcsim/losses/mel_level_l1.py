"""The distance of the levels of mel bands, down to a floor below loud speech."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.activity import loud_power
from bcsim.dsp.mel import mel_means
from bcsim.dsp.spectra import sine_window
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import check_frames, spectrum_parts

_MIN_POWER = 1e-12  # added to every band: in digital silence both levels are this


@LOSSES.register("mel_level_l1")
class MelLevelL1(Objective):
    r"""Mean absolute error in dB of the levels of mel bands, of what is above a floor.

    .. math::
        \mathrm{mean} \lvert L(\hat{s}) - L(s) \rvert, \quad
        L(x) = 10 \log_{10}\big(W \lvert X \rvert^2 + 10^{f / 10} P\big)

    with triangular filters W that take the mean power of a band, on HTK's mel scale, and P the
    power of loud frames of the target, the 98th percentile over the frames. The floor f keeps
    pauses, and bands that are lost in the microphone's own noise, from counting as much as speech:
    :class:`MelL1` has one at 100 dB below full scale. Frames have square-root Hann windows, with
    zeros before the start and behind the end, as those of `SpectralEnhancer`.

    Args:
        num_mels: number of mel bands.
        fft_size: size of the FFT and length of the window, in samples.
        hop_size: hop in samples.
        floor_db: power in dB re loud frames that is added to every band, f.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: if the sizes make no frames or no bands, or the floor is not below 0 dB.

    Example:
        >>> torch.manual_seed(0) and None
        >>> noise = torch.randn(1, 16_000)
        >>> f"{MelLevelL1()(0.5 * noise, noise):.1f} dB"
        '6.0 dB'
    """

    window: Tensor
    bank: Tensor

    def __init__(
        self,
        num_mels: int = 40,
        fft_size: int = 512,
        hop_size: int = 256,
        floor_db: float = -50.0,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, fft_size)
        if num_mels < 1:
            raise ValueError(f"num_mels is {num_mels}; it wants 1 or more")
        if not -200 <= floor_db < 0:
            raise ValueError(f"floor_db is {floor_db:g}; it wants -200 <= floor_db < 0")
        self.fft_size, self.hop_size = fft_size, hop_size
        self.floor = 10 ** (floor_db / 10)
        window = torch.from_numpy(sine_window(fft_size)).float()
        self.register_buffer("window", window, persistent=False)
        with torch.device("cpu"):
            bank = mel_means(sample_rate, fft_size, num_mels)
        self.register_buffer("bank", bank.float(), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        followed, wanted = (self._power(signal[:, 0]) for signal in (estimate, target))
        floor = self.floor * loud_power(wanted.mean(1))[:, None] + _MIN_POWER
        ratio = (self.bank @ followed + floor) / (self.bank @ wanted + floor)
        return {"mel_level_l1": 10 * ratio.log10().abs().mean()}

    def _power(self, signal: Tensor) -> Tensor:
        """Return the power of each bin (B, F, frames) of signals (B, T)."""
        edge = self.fft_size - self.hop_size
        padded = pad(signal, (edge, edge + -signal.shape[-1] % self.hop_size))
        framing = (self.fft_size, self.hop_size, self.window)
        return spectrum_parts(padded, *framing, center=False).square().sum(-1)
