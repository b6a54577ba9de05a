"""The inverse of a sensor's response as an enhancer: the baseline that a network has to beat."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from bcsim.dsp.spectra import fractional_octave_smooth
from bcsim.errors import InputError
from bcsim.models.base import Enhancer
from bcsim.sensors.profile import SensorProfile

MAX_GAIN_DB = 30.0  # over the gain at the response's maximum
SMOOTHING = 3  # parts of an octave: finer detail is the fitted talkers', not the sensor's


class InverseResponse(Enhancer):
    r"""A zero-phase filter that undoes the fixed response of a sensor, as far as noise allows.

    .. math:: G(f) = p\,\gamma^2(f) / \max(|H(f)|, 10^{-30/20} \max_f |H(f)|)

    with the polarity p, the response H smoothed over a third of an octave, and :math:`\gamma^2` the
    coherence that the noise of the recordings leaves (`SensorProfile.coherence_ceiling`): nearly 1
    where speech is above the noise floor, 0 where noise is all there is. Delay and phase of the
    sensor stay.

    Args:
        profile: sensor whose response is undone. Its speech-dependent part is not.

    Raises:
        InputError: if the response is zero everywhere.
    """

    def __init__(self, profile: SensorProfile) -> None:
        super().__init__()
        power = torch.from_numpy(np.abs(profile.transfer_function.response) ** 2)
        magnitude = fractional_octave_smooth(power, SMOOTHING).sqrt()
        least = float(magnitude.max()) * 10 ** (-MAX_GAIN_DB / 20)
        if least == 0:
            raise InputError(f"{profile.name}: the response is zero; fit the sensor again")
        grid = torch.from_numpy(profile.transfer_function.frequencies_hz)
        low_hz, high_hz = profile.recorded_band_hz
        gain = torch.from_numpy(profile.coherence_ceiling) / magnitude.clamp(min=least)
        gain = torch.where((grid >= low_hz) & (grid <= high_hz), gain, 0.0)
        taps = torch.fft.irfft(profile.polarity * gain)
        half = len(taps) // 2
        # The tap at +-half belongs to both sides; shared equally, the filter is symmetric.
        ends = taps[half : half + 1] / 2
        taps = torch.cat([ends, taps[half + 1 :], taps[:half], ends])
        self.config = {}
        self.sample_rate, self.channels, self.causal = profile.sample_rate, ("bone",), False
        self.frame_samples = 1
        self.history_samples = self.latency_samples = half
        self.taps = nn.Parameter(taps.float(), requires_grad=False)

    def enhance_valid(self, signal: Tensor) -> Tensor:
        half = len(self.taps) // 2
        return conv1d(pad(signal, (half, half)), self.taps[None, None])

    @property
    def last_layer(self) -> Tensor:
        return self.taps
