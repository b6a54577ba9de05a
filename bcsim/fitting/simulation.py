"""Simulation of an aligned pair's bone signal, with the simulator that renders corpora."""

from dataclasses import replace

import torch
from torch import Tensor

from bcsim.dsp.activity import frame_energies_of, rms_of_speech
from bcsim.dsp.filter_bank import FilterBank
from bcsim.dsp.lazy_signal import LazySignal, Samples, is_long, mean
from bcsim.effects.base import Effect, Scene
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator

CONTEXT_S = 1.5  # on either side: more than the network, the filter bank and the filters reach


def simulate_any(
    profile: SensorProfile, air: Samples, clip_id: str, *, within_clip: bool = False
) -> Samples:
    """Simulate without noise, as `simulate` does; a long clip in segments, when they are asked for.

    Args:
        profile: sensor to be simulated.
        air: (T,), air signal at the profile's sample rate.
        clip_id: name of the clip.
        within_clip: whether to draw the residual.

    Returns:
        (T,), the sensor's signal.
    """
    if not is_long(len(air)):
        return simulate(profile, air[:], clip_id, noise=False, within_clip=within_clip)
    rate = profile.sample_rate
    simulator = _simulator(profile, noise=False)
    draws = [simulator.sample(0, clip_id, mean=True, within_clip=within_clip)]
    level = rms_of_speech(*frame_energies_of(air, rate), rate)
    offset = torch.tensor([mean(air)], dtype=torch.float64)
    hop = FilterBank(rate).hop  # whose frames fall alike in all segments

    def read(start: int, stop: int) -> Tensor:
        begin = max(0, int(start - CONTEXT_S * rate)) // hop * hop
        scene = Scene.from_air(air[begin : round(stop + CONTEXT_S * rate)][None], rate)
        scene = replace(scene, start=begin, level=level, offset=offset)
        return simulator.apply(scene, draws).bone[0, start - begin : stop - begin]

    return LazySignal(len(air), read)


def simulate(
    profile: SensorProfile,
    air: Tensor,
    clip_id: str,
    *,
    noise: bool = True,
    within_clip: bool = False,
) -> Tensor:
    """Simulate the mean wearer of a sensor, upright and without delay, as aligned pairs are.

    Args:
        profile: sensor to be simulated, fitted or provisional.
        air: (T,), air signal at the profile's sample rate.
        clip_id: name of the clip, which decides the waveforms of noise and residual.
        noise: whether to add the sensor's noise floor.
        within_clip: whether to draw the within-clip variation, that is, the residual.

    Returns:
        (T,), the sensor's signal.
    """
    simulator = _simulator(profile, noise)
    scene = simulator.render(air[None], [clip_id], 0, mean=True, within_clip=within_clip)
    return scene.bone[0]


def _simulator(profile: SensorProfile, noise: bool) -> Simulator:
    upright = replace(profile, polarity=1)
    effects: list[Effect] = [SensorSpeech(upright), SensorResponse(upright)]
    if noise:
        effects.append(SensorNoise(upright))
    return Simulator(tuple(effects), profile.sample_rate)
