"""Band levels of a pair, which speech-dependent estimators are trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bcsim.dsp.activity import is_active
from bcsim.dsp.filter_bank import FilterBank
from bcsim.dsp.lazy_signal import Samples, is_long
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.simulation import simulate_any
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.responses.base import relative_levels

LEVELS_AT_ONCE = 4096  # frames
# Frames with speech that a speech-dependent part is learnt from, at most: some nine minutes of
# speech, evenly spread. A network sees each of them some thirty times.
MOST_FRAMES = 1 << 16


@dataclass(frozen=True, eq=False)
class SpeechFrames:
    """Band levels of one pair in the frames of the filter bank.

    Args:
        talker: name of the talker, or None where it is not known.
        name: name of the pair.
        levels_db: (frames, M), levels of air relative to its active speech.
        fixed_db: (active frames, M), levels of air after the fixed response.
        bone_db: (active frames, M), levels of the recorded bone signal.
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
        """Level of bone less its noise in the frames with speech, (active frames, M).

        Not more than 10 dB under bone. In bands that the recordings do not hold, it is that which
        the fixed response gives.
        """
        bone, noise = 10 ** (self.bone_db / 10), 10 ** (self.noise_db / 10)
        speech_db = 10 * torch.maximum(bone - noise, 0.1 * bone).log10()
        return torch.where(self.recorded, speech_db, self.fixed_db)

    def error_db(self, gains_db: Tensor) -> Tensor:
        """Return the level with gains (frames, M) less that recorded, (active frames, M)."""
        power = 10 ** ((self.fixed_db + gains_db[self.active]) / 10) + 10 ** (self.noise_db / 10)
        return 10 * power.log10() - self.bone_db

    def thinned(self, step: int) -> "SpeechFrames":
        """Return the frames, of which one in `step` of those with speech is told to carry it."""
        active = _one_in(self.active, step)
        kept = active[self.active]
        return replace(
            self, active=active, fixed_db=self.fixed_db[kept], bone_db=self.bone_db[kept]
        )


def speech_frames(pair: AlignedPair, profile: SensorProfile) -> SpeechFrames:
    """Return the band levels of a pair, with those that the profile's fixed response gives."""
    return _frames(pair, profile, *_air_levels(pair))


def frames_to_learn_from(
    pairs: Sequence[AlignedPair], profile: SensorProfile
) -> list[SpeechFrames]:
    """Return the frames of pairs as `thinned` does; what is left out of them is never held."""
    air = [_air_levels(pair) for pair in pairs]
    step = _step(active for _, active in air)
    return [
        _frames(pair, profile, levels_db, _one_in(active, step))
        for pair, (levels_db, active) in zip(pairs, air, strict=True)
    ]


def _air_levels(pair: AlignedPair) -> tuple[Tensor, Tensor]:
    """Return the levels of air relative to its active speech, (frames, M), and which carry it."""
    bank = FilterBank(pair.sample_rate)
    air_db = levels_of(bank, pair.air)[None]
    num_frames = torch.tensor([air_db.shape[1]])
    active = is_active(bank.speech_power(air_db), num_frames)[0]
    return relative_levels(bank, air_db, num_frames)[0], active


def _frames(
    pair: AlignedPair, profile: SensorProfile, levels_db: Tensor, active: Tensor
) -> SpeechFrames:
    bank = FilterBank(pair.sample_rate)
    fixed = simulate_any(replace(profile, speech=None), pair.air, pair.name)
    grid = torch.linspace(0, pair.sample_rate / 2, bank.num_fft // 2 + 1, dtype=torch.float64)
    response_grid = profile.transfer_function.frequencies_hz
    psd = np.interp(grid.numpy(), response_grid, pair.noise.psd.numpy())
    noise = torch.from_numpy(psd) * (pair.sample_rate / 2 * bank.num_fft / 2)  # sum of w^2
    low_hz, high_hz = profile.recorded_band_hz
    noise_power = (bank.weights @ noise).clamp(min=1e-16)
    return SpeechFrames(
        talker=pair.talker,
        name=pair.name,
        levels_db=levels_db,
        fixed_db=levels_of(bank, fixed, active),
        bone_db=levels_of(bank, pair.bone, active),
        noise_db=(10 * noise_power.log10()).to(levels_db),
        active=active,
        recorded=(bank.centres_hz >= low_hz) & (bank.centres_hz <= high_hz),
    )


def levels_of(bank: FilterBank, signal: Samples, chosen: Tensor | None = None) -> Tensor:
    """Return the levels in the bands, (frames, M): in single precision of a long signal.

    Args:
        bank: filter bank.
        signal: (T,).
        chosen: (frames,) of bool, frames whose levels are returned; None for all.
    """
    if not is_long(len(signal)):
        levels = bank.levels_db(signal[:][None])[0]
        return levels if chosen is None else levels[chosen]
    before = bank.num_fft - bank.hop  # of the first frame
    num_frames = int(bank.num_frames(torch.tensor(len(signal))))
    if chosen is None:
        chosen = torch.ones(num_frames, dtype=torch.bool)
    levels = torch.empty(int(chosen.sum()), bank.num_bands)
    count = 0
    for block in torch.arange(num_frames).split(LEVELS_AT_ONCE):
        first, last = int(block[0]), int(block[-1])
        begin = max(0, first * bank.hop - before)
        segment = signal[begin : last * bank.hop - before + bank.num_fft]
        own = bank.levels_db(segment[None])[0]
        skipped = first - begin // bank.hop  # frames that reach beyond the segment
        own = own[skipped : skipped + len(block)][chosen[block]]
        levels[count : count + len(own)] = own.float()
        count += len(own)
    return levels


def thinned(frames: Sequence[SpeechFrames]) -> list[SpeechFrames]:
    """Return the frames of pairs, of which at most `MOST_FRAMES` are told to carry speech."""
    step = _step(own.active for own in frames)
    return [own if step == 1 else own.thinned(step) for own in frames]


def _step(actives: Iterable[Tensor]) -> int:
    """Return n where every n-th frame with speech is learnt from."""
    return max(1, -(-sum(int(active.sum()) for active in actives) // MOST_FRAMES))


def _one_in(active: Tensor, step: int) -> Tensor:
    """Return which frames are one in `step` of those with speech, (frames,) of bool."""
    return active & (active.cumsum(0) % step == 0)
