"""BLSTM mapping: from the log-power spectra of the sensor to those of air.

The mapping networks of the study notes on body conduction: a recurrent network that runs both ways
over spectra that are normed by the statistics of sensor and air (compare Xu, Du, Dai and Lee, "A
regression approach to speech enhancement based on deep neural networks", IEEE/ACM TASLP 23, 2015,
doi 10.1109/TASLP.2014.2364452).
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bcsim.dsp.spectra import power_of
from bcsim.errors import InputError
from bcsim.models import MODELS
from bcsim.models.spectral import Frames, SpectralEnhancer, recurrent_outputs

MIN_POWER = 1e-6  # added to each bin's, of signals with a peak of 1
MIN_PEAK = 1e-4  # 80 dB below full scale: what is softer is silence
MIN_DEVIATION = 0.1  # in nepers of power, of bins that hardly change
_MIN_MAGNITUDE_POWER = 1e-12  # added under the root, whose slope is then finite in silence

Statistics = Literal["corpus", "utterance"]


@MODELS.register("blstm_mapping")
class BLSTMMapping(SpectralEnhancer):
    r"""A recurrent network that maps log-power spectra, bin by bin, both ways over time.

    With the bone signal divided by its peak, and :math:`x = \ln(\lvert X \rvert^2 + 10^{-6})`, the
    network sees :math:`(x - \mu_\mathrm{bone}) / \sigma_\mathrm{bone}` and gives y, which stands
    for :math:`y\,\sigma_\mathrm{air} + \mu_\mathrm{air}`: the statistics of **air** are those at
    the output. The phase is the bone signal's. Frames have Hann windows both ways, and states begin
    at zero, so that the same input gives the same output.

    The statistics are the mean over training utterances of each one's mean and deviation, bin by
    bin; air's are taken relative to the bone signal's peak, as the output is. The trainer measures
    them on its crops before the first step, and they are kept with the weights. With `statistics`
    "utterance" the bone signal is normed by its own, which a fixed filter or another level of the
    sensor does not change. There are no statistics of a speaker: nothing tells whose recording is
    enhanced. Of one speaker's pairs, "corpus" means that speaker, as in the notes, where such a
    network did not carry over to others.

    Args:
        fft_size: length of a frame in samples, F = fft_size // 2 + 1.
        hop_size: hop in samples.
        units: units of each direction of a recurrent layer.
        num_layers: number of recurrent layers.
        dropout: probability that an output of a recurrent layer but the last is dropped.
        statistics: whose statistics norm the bone signal.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes or settings that make no network.

    Example:
        >>> BLSTMMapping().num_parameters, BLSTMMapping(fft_size=512).num_parameters
        (15365249, 16020737)
    """

    small = MappingProxyType({"units": 2, "num_layers": 1})
    num_statistics_pairs = 256

    bone_mean: Tensor
    bone_deviation: Tensor
    air_mean: Tensor
    air_deviation: Tensor

    def __init__(
        self,
        fft_size: int = 256,
        hop_size: int = 64,
        units: int = 512,
        num_layers: int = 3,
        dropout: float = 0.02,
        statistics: Statistics = "corpus",
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(fft_size, hop_size, units, num_layers, sample_rate) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                "blstm_mapping: its sizes and the sample_rate have to be positive, and dropout at "
                "least 0 and below 1"
            )
        if statistics not in ("corpus", "utterance"):
            raise ValueError(
                f"blstm_mapping: statistics is {statistics!r}; it wants corpus or utterance"
            )
        self.config = {
            "fft_size": fft_size,
            "hop_size": hop_size,
            "units": units,
            "num_layers": num_layers,
            "dropout": dropout,
            "statistics": statistics,
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, ("bone",)
        hann = np.sin(np.pi * np.arange(fft_size) / fft_size) ** 2
        self.set_frames(Frames(fft_size, hop_size, hann, hann), None, relative_level=False)
        self.by_utterance = statistics == "utterance"
        num_bins = fft_size // 2 + 1
        for name in ("bone", "air"):
            self.register_buffer(f"{name}_mean", torch.zeros(num_bins))
            self.register_buffer(f"{name}_deviation", torch.ones(num_bins))
        self.recurrent = nn.LSTM(
            num_bins,
            units,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=True,
        )
        self.output = nn.Linear(2 * units, num_bins)

    def fit_statistics(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        found = []
        with torch.no_grad():
            for bone, air in batches:
                peak = _peak(bone)
                log_powers = [_log_power(self.frames.spectra(x / peak)[:, 0]) for x in (bone, air)]
                present = _present(self.frames.spectra(bone)[:, 0])
                each = torch.stack([s for x in log_powers for s in _statistics(x, present)])
                found.append(each[:, present.any(1)[:, 0], 0])  # but for items that are silent
            utterances = torch.cat(found, dim=1)
            if utterances.shape[1] == 0:
                raise InputError("the pairs that statistics are measured on are silent; use others")
            means = utterances.mean(1)
        buffers = (self.bone_mean, self.bone_deviation, self.air_mean, self.air_deviation)
        for buffer, mean in zip(buffers, means, strict=True):
            buffer.copy_(mean)

    def enhance_valid(self, signal: Tensor) -> Tensor:
        peak = _peak(signal)
        return super().enhance_valid(signal / peak) * peak

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        bone = spectra[:, 0]
        log_power = _log_power(bone)
        mean, deviation = self.bone_mean, self.bone_deviation
        if self.by_utterance:
            mean, deviation = _statistics(log_power, _present(bone))
        mapped = self._map((log_power - mean) / deviation)
        log_magnitude = (mapped * self.air_deviation + self.air_mean) / 2
        return bone * (log_magnitude.exp() / (power_of(bone) + _MIN_MAGNITUDE_POWER).sqrt())

    def _map(self, normed: Tensor) -> Tensor:
        """Return the normed spectra of air (B, frames, F) for those of bone."""
        return self.output(recurrent_outputs(self.recurrent, normed))

    @property
    def last_layer(self) -> Tensor:
        return self.output.weight


def _peak(signal: Tensor) -> Tensor:
    """Return the largest magnitude of each row, (B, 1, 1), for (B, 1, T)."""
    return signal.abs().amax(-1, keepdim=True).clamp(min=MIN_PEAK)


def _log_power(spectra: Tensor) -> Tensor:
    return (power_of(spectra) + MIN_POWER).log()


def _present(spectra: Tensor) -> Tensor:
    """Tell which frames hold anything, (B, frames, 1): zeros behind a short clip are none of it."""
    return power_of(spectra).sum(-1, keepdim=True) > 0


def _statistics(log_power: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each bin over the frames that are there, (B, 1, F) each."""
    count = present.sum(1, keepdim=True).clamp(min=1)
    mean = torch.where(present, log_power, 0).sum(1, keepdim=True) / count
    squares = torch.where(present, log_power - mean, 0).square().sum(1, keepdim=True)
    return mean, (squares / count).clamp(min=MIN_DEVIATION**2).sqrt()
