"""The frames of a pair, air beside bone, as speech-dependent estimators see them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.activity import is_active
from bcsim.dsp.filter_bank import FilterBank
from bcsim.dsp.fir import fast_length, interpolate_response
from bcsim.fitting.pairs import AlignedPair
from bcsim.sensors.responses.base import relative_levels
from bcsim.sensors.transfer_function import TransferFunction


@dataclass(frozen=True, eq=False)
class SpeechFrames:
    """The frames of one pair, as a speech-dependent estimator sees them.

    Args:
        talker: or None.
        name: of the pair.
        levels_db: (frames, M), of air, of `relative_levels`.
        fixed_db: (frames, M), what the fixed response makes of air.
        bone_db: (frames, M), what the sensor recorded.
        noise_db: (M,), the sensor's noise in the same bands.
        active: (frames,) of bool.
    """

    talker: str | None
    name: str
    levels_db: Tensor
    fixed_db: Tensor
    bone_db: Tensor
    noise_db: Tensor
    active: Tensor

    @property
    def speech_db(self) -> Tensor:
        """Return the level of bone less its noise, not more than 10 dB under bone, (frames, M)."""
        bone, noise = 10 ** (self.bone_db / 10), 10 ** (self.noise_db / 10)
        return 10 * torch.maximum(bone - noise, 0.1 * bone).log10()

    def error_db(self, gains_db: Tensor) -> Tensor:
        """Return simulated less real level of active frames, (active frames, M).

        Args:
            gains_db: (frames, M).
        """
        power = 10 ** ((self.fixed_db + gains_db) / 10) + 10 ** (self.noise_db / 10)
        return (10 * power.log10() - self.bone_db)[self.active]


def speech_frames(pair: AlignedPair, response: TransferFunction) -> SpeechFrames:
    """Return a pair's frames, air beside bone.

    Args:
        pair: aligned; its noise is used.
        response: the fixed response from `pair.air` to `pair.bone`, in their units.
    """
    bank = FilterBank(pair.sample_rate)
    air_db = bank.levels_db(pair.air[None])
    frames = torch.tensor([air_db.shape[1]])
    filtered = filter_with(response, pair.air[None])
    grid = torch.linspace(0, pair.sample_rate / 2, bank.num_fft // 2 + 1, dtype=torch.float64)
    psd = np.interp(grid.numpy(), response.frequencies_hz, pair.noise.psd.numpy())
    noise = torch.from_numpy(psd) * (pair.sample_rate / 2 * bank.num_fft / 2)  # sum of w^2
    noise_power = (bank.weights @ noise).clamp(min=1e-16)
    return SpeechFrames(
        talker=pair.talker,
        name=pair.name,
        levels_db=relative_levels(air_db, frames)[0],
        fixed_db=bank.levels_db(filtered)[0],
        bone_db=bank.levels_db(pair.bone[None])[0],
        noise_db=10 * noise_power.log10(),
        active=is_active((10 ** (air_db / 10)).sum(dim=-1), frames)[0],
    )


def filter_with(response: TransferFunction, signal: Tensor) -> Tensor:
    """Return the signal after the response, (B, T), as long as it was."""
    bins = len(response.frequencies_hz)
    size = fast_length(signal.shape[-1] + 4 * bins)
    finer = interpolate_response(torch.from_numpy(response.response)[None], size // 2 + 1)
    return torch.fft.irfft(torch.fft.rfft(signal, size) * finer, size)[..., : signal.shape[-1]]
