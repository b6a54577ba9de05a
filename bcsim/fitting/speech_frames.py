"""Band levels of a pair, which speech-dependent estimators are trained on."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.activity import is_active
from bcsim.dsp.filter_bank import FilterBank
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.simulation import simulate
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.responses.base import relative_levels


@dataclass(frozen=True, eq=False)
class SpeechFrames:
    """Band levels of one pair in the frames of the filter bank.

    Args:
        talker: name of the talker, or None where it is not known.
        name: name of the pair.
        levels_db: (frames, M), levels of air relative to its active speech.
        fixed_db: (frames, M), levels of air after the fixed response.
        bone_db: (frames, M), levels of the recorded bone signal.
        noise_db: (M,), levels of the sensor's noise.
        active: (frames,) of bool, frames with speech.
        recorded: (M,) of bool, bands that the recordings hold; in the others nothing is known.
    """

    talker: str | None
    name: str
    levels_db: Tensor
    fixed_db: Tensor
    bone_db: Tensor
    noise_db: Tensor
    active: Tensor
    recorded: Tensor

    @property
    def speech_db(self) -> Tensor:
        """Level of bone less its noise, not more than 10 dB under bone, (frames, M).

        In bands that the recordings do not hold, it is that which the fixed response gives.
        """
        bone, noise = 10 ** (self.bone_db / 10), 10 ** (self.noise_db / 10)
        speech_db = 10 * torch.maximum(bone - noise, 0.1 * bone).log10()
        return torch.where(self.recorded, speech_db, self.fixed_db)

    def error_db(self, gains_db: Tensor) -> Tensor:
        """Return the level with gains (frames, M) less that recorded, (active frames, M)."""
        power = 10 ** ((self.fixed_db + gains_db) / 10) + 10 ** (self.noise_db / 10)
        return (10 * power.log10() - self.bone_db)[self.active]


def speech_frames(pair: AlignedPair, profile: SensorProfile) -> SpeechFrames:
    """Return the band levels of a pair, with those that the profile's fixed response gives."""
    bank = FilterBank(pair.sample_rate)
    air_db = bank.levels_db(pair.air[None])
    num_frames = torch.tensor([air_db.shape[1]])
    fixed = simulate(replace(profile, speech=None), pair.air, pair.name, noise=False)
    grid = torch.linspace(0, pair.sample_rate / 2, bank.num_fft // 2 + 1, dtype=torch.float64)
    response_grid = profile.transfer_function.frequencies_hz
    psd = np.interp(grid.numpy(), response_grid, pair.noise.psd.numpy())
    noise = torch.from_numpy(psd) * (pair.sample_rate / 2 * bank.num_fft / 2)  # sum of w^2
    low_hz, high_hz = profile.recorded_band_hz
    noise_power = (bank.weights @ noise).clamp(min=1e-16)
    return SpeechFrames(
        talker=pair.talker,
        name=pair.name,
        levels_db=relative_levels(bank, air_db, num_frames)[0],
        fixed_db=bank.levels_db(fixed[None])[0],
        bone_db=bank.levels_db(pair.bone[None])[0],
        noise_db=10 * noise_power.log10(),
        active=is_active(bank.speech_power(air_db), num_frames)[0],
        recorded=(bank.centres_hz >= low_hz) & (bank.centres_hz <= high_hz),
    )
