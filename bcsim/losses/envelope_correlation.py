"""How well the envelopes of bands follow the target's, which is what intelligibility is made of."""

import torch
from torch import Tensor

from bcsim.dsp.mel import mel_bank
from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import check_frames, check_length, spectrum_parts

_POWER_FLOOR = 1e-9  # added under the root, whose slope is then finite in silence
_NORM_FLOOR = 1e-4  # of an envelope's changes over a segment; below, they count for little


@LOSSES.register("envelope_correlation")
class EnvelopeCorrelation(Objective):
    r"""One less the correlation of band envelopes over short segments, after STOI.

    .. math::
        \mathrm{mean}_{k,m}\; w_{km} \Big(1 -
            \frac{\langle \tilde{x}_{km}, \tilde{s}_{km} \rangle}
                 {\lVert \tilde{x}_{km} \rVert\, \lVert \tilde{s}_{km} \rVert}\Big)

    where :math:`\tilde{s}_{km}` is the magnitude in mel band k over segment m, less its mean there.
    Segments overlap by half; quiet ones of the target weigh less, by the root of their magnitude.
    Taal et al. 2011, doi 10.1109/TASL.2011.2114881, correlate so over 384 ms. What is left out of
    STOI is what makes it hard to minimise: the clipping, the removal of silent frames, and
    the sampling at 10 kHz. Neither level nor a fixed filter is seen: use it beside one that does.

    Args:
        num_mels: number of mel bands.
        fft_size: size of the FFT and length of the window, in samples.
        hop_size: hop in samples.
        segment_frames: length of a segment; 24 hops of 256 samples are 384 ms at 16 kHz.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: if the sizes make no frames, bands or segments.
    """

    window: Tensor
    bank: Tensor

    def __init__(
        self,
        num_mels: int = 40,
        fft_size: int = 1024,
        hop_size: int = 256,
        segment_frames: int = 24,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, fft_size)
        if segment_frames < 2:
            raise ValueError(f"segment_frames is {segment_frames}; it wants 2 or more")
        if num_mels < 1:
            raise ValueError(f"num_mels is {num_mels}; it wants 1 or more")
        self.fft_size, self.hop_size = fft_size, hop_size
        self.segment_frames = segment_frames
        self.min_samples = fft_size // 2 + 1  # the STFT reflects half a frame at the ends
        bank = mel_bank(sample_rate, fft_size, num_mels)
        self.register_buffer("bank", bank / bank.sum(1, keepdim=True), persistent=False)
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        check_length(estimate, self.min_samples, self.fft_size)
        (followed, _), (wanted, loudness) = (self._segments(x) for x in (estimate, target))
        same = (wanted * wanted).sum(-1)  # below 1 where the target hardly changes
        apart = same - (followed * wanted).sum(-1)
        return {"envelope_correlation": (loudness * apart).mean().clamp_min(0)}

    def _segments(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised envelopes (B, num_mels, segments, frames), and segments' weights."""
        parts = spectrum_parts(signal[:, 0], self.fft_size, self.hop_size, self.window)
        power = parts.square().sum(-1)
        envelopes = (self.bank @ power + _POWER_FLOOR).sqrt()
        length = min(self.segment_frames, envelopes.shape[-1])  # of a short signal: all of it
        segments = envelopes.unfold(-1, length, max(1, length // 2))
        changes = segments - segments.mean(-1, keepdim=True)
        size = changes.square().sum(-1, keepdim=True).add(_NORM_FLOOR**2).sqrt()
        return changes / size, segments.norm(dim=-1).clamp(max=1).sqrt()
